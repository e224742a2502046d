from ecellm.visible_text import short_text, visible


def test_what_hides_or_reorders_text_is_shown():
    assert (
        visible("a\x00b\u202ec\u2028d\r\n\te\ufeff\U000e0041")
        == "a⟨U+0000⟩b⟨U+202E⟩c⟨U+2028⟩d⟨U+000D⟩\n\te⟨U+FEFF⟩⟨U+E0041⟩"
    )


def test_other_text_stays_as_it_is():
    text = "Größe ½ 中文 عربي 👩‍🚀 می‌خواهم"
    assert visible(text) == text


def test_short_text_is_one_line_of_a_length():
    assert short_text(" a\n b ", 10) == "a b"
    assert short_text("abcdefgh", 5) == "abcd…"
    assert short_text("a\u202ebcdefgh", 6) == "a⟨U+2…"
