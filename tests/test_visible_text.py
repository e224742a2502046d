from ecellm.visible_text import short_text, visible


def test_what_hides_or_reorders_text_is_shown():
    assert (
        visible("a\x00b\u202ec\u2028d\r\n\te\ufeff\uffff\U000e0041")
        == "a⟨U+0000⟩b⟨U+202E⟩c⟨U+2028⟩d⟨U+000D⟩\n\te⟨U+FEFF⟩⟨U+FFFF⟩⟨U+E0041⟩"
    )


def test_other_text_stays_as_it_is():
    text = "Größe ½ 中文 عربي 👩‍🚀 می‌خواهم"
    assert visible(text) == text


def test_short_text_is_one_line_of_a_length():
    assert short_text(" a\n b ", 10) == "a b"
    assert short_text("abcdefgh", 5) == "abcd…"
    assert short_text("a\u202ebcdefgh", 6) == "a⟨U+2…"


def test_short_text_counts_wide_characters_twice_and_may_keep_the_end():
    assert short_text("中文商品属性", 7) == "中文商…"
    assert short_text("sweep-lr-0001", 8, keep_end=4) == "swe…0001"
    assert short_text("short", 8, keep_end=4) == "short"
