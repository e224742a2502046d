"""Amazon Review data: hostile metadata of 2014 is never executed; ratings are four fields or nothing."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.errors import InputError
from ecellm.sources.amazon_reviews import (
    OldProduct,
    Rating,
    decode_old_product,
    decode_rating,
    related_in_html,
    require,
    review_file,
)
from ecellm.storage import Storage

# Texts without what cannot be on one line of UTF-8, rich in what literals escape.
TEXTS = st.text(st.one_of(st.sampled_from("'\"\\/nutxb{}[],:# \t"), st.characters(codec="utf-8"))).filter(
    lambda text: text.isprintable() or "\\" in text
)


def test_a_product_of_2014():
    line = (
        b"{'asin': '0001048791', 'salesRank': {'Books': 6334800}, 'imUrl': 'http://x/y.jpg', 'categories': [['Books']], "
        b"'title': 'The Crucible: Performed by Stuart Pankin, Jerome Dempsey &amp; Cast'}\n"
    )
    title = "The Crucible: Performed by Stuart Pankin, Jerome Dempsey &amp; Cast"
    assert decode_old_product(line) == OldProduct("0001048791", title, None)
    assert decode_old_product(b"{'asin': 'A', 'title': None, 'price': 1.0, 'ok': True}") == OldProduct("A")


@given(title=TEXTS, brand=st.one_of(st.none(), TEXTS), other=st.one_of(TEXTS, st.floats(), st.lists(TEXTS)))
def test_whatever_a_literal_holds_is_read_as_python_reads_it(title, brand, other):
    line = repr({"asin": "A", "other": other, "title": title, "brand": brand})
    if "inf" in line or "nan" in line:
        return  # names, not literals
    assert decode_old_product(line.encode()) == OldProduct("A", title, brand)


@given(st.text("'\"\\/nux0d8{}:, ", max_size=30))
def test_a_literal_with_any_quotes_and_escapes_is_read_as_python_reads_it_or_refused(body):
    for quote in "'\"":
        line = f"{{'asin': 'A', 'title': {quote}{body}{quote}}}"
        try:
            expected = ast.literal_eval(line)["title"]
            expected.encode()
        except (SyntaxError, ValueError, KeyError, TypeError, AttributeError):
            continue
        assert decode_old_product(line.encode()).title == expected


HOSTILE = {
    "a call": b"__import__('os').system('touch %s')",
    "a call as a value": b"{'asin': 'A', 'title': __import__('os').system('touch %s')}",
    "open": b"{'asin': open('%s', 'w').write('x')}",
    "comprehension": b"[open('%s', 'w') for _ in (1,)]",
    "lambda": b"(lambda: open('%s', 'w'))()",
    "walrus": b"(x := open('%s', 'w'))",
    "f-string": b"{'asin': f'{open(\"%s\", \"w\")}'}",
    "format": b"{'asin': 'A'.format(open('%s', 'w'))}",
    "statement": b"import os; os.system('touch %s')",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_code_is_refused_and_never_executed(name, tmp_path):
    trace = tmp_path / "executed"
    with pytest.raises(ValueError, match="not a Python literal of a product"):
        decode_old_product(HOSTILE[name] % str(trace).encode() if b"%s" in HOSTILE[name] else HOSTILE[name])
    assert not trace.exists()


@pytest.mark.parametrize(
    "line",
    [
        b"{'asin': 'A', 'x': 9**9**9**9}",
        b"{'asin': 'A', 'x': 'a' * 10**12}",
        b"(" * 1000 + b")" * 1000,
        b"{'asin': 'A', 'x': " + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"{'asin': 'A', 'x': " + b"{'a': " * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"-" * 1_000_000 + b"1",
        b"not " * 300_000 + b"1",
        b"{'asin': 'A', 'x': " + b"1+" * 500_000 + b"1j}",
        b"a" + b".a" * 500_000,
        b"a" + b"()" * 500_000,
        b"lambda:" * 200_000 + b"1",
        b"1 if 1 else " * 150_000 + b"1",
        b"{'asin': 'A', 'title': '\\ud800'}",
        b"{'asin': 'A', 'title': '\\ud83d\\ude00'}",
        b"{'asin': 'A', 'title': '\xff\xfe'}",
        b"{'asin': 'A', 'title': 7}",
        b"{'asin': b'A'}",
        b"{'title': 'no asin'}",
        b"{'asin': 'A'\0}",
        b"{1: 2}",
        b"['asin']",
        b"{[]: 'asin'}",
        b"{'asin': 'A', 'title': 'cut",
        b"None",
        b"",
    ],
    ids=lambda line: line[:24].decode("latin-1") + f"... {len(line)}",
)
def test_what_is_no_product_is_refused_at_once_with_a_reason(line):
    with pytest.raises(ValueError, match=r"not a Python literal of a product: .") as caught:
        decode_old_product(line)
    assert len(str(caught.value)) < 300
    assert " at 0x" not in str(caught.value), "an address would differ from run to run"


def test_a_huge_number_that_nobody_reads_and_a_huge_line(tmp_path):
    assert decode_old_product(b"{'asin': 'A', 'x': " + b"1" * 4000 + b"}") == OldProduct("A")
    with pytest.raises(ValueError, match="longer than 2 MiB"):
        decode_old_product(b"{'asin': 'A', 'x': " + b"1" * (3 << 20) + b"}")


def test_a_rating():
    assert decode_rating(b"B001,A2 U,4.0,1262304000\r\n") == Rating("B001", "A2 U", "4.0", "1262304000")


@pytest.mark.parametrize(
    "line",
    [
        b"item,user,rating,timestamp",
        b"B001,A2,4.0",
        b"B001,A2,4.0,1262304000,extra",
        b"B001,,4.0,1262304000",
        b",A2,4.0,1262304000",
        b"B001,A2,4.0,-5",
        b"B001,A2,4.0,1.2e9",
        "B001,A2,4.0,١٢٣".encode(),
        b"B001,A\xff,4.0,1262304000",
        b"B001,A2,4.0,99999999999999999999",  # more than 64 bits hold
        b"\n",
    ],
)
def test_what_is_no_rating_is_refused(line):
    with pytest.raises(ValueError, match=r"is no item,user,rating,timestamp|codec can't decode"):
        decode_rating(line)


def test_related_ids_in_html():
    # Ten characters one behind each `asin`, and of the text before the first one too, whatever they are.
    assert related_in_html("<B000000001 x asin=B000000002/asin:B000000003") == [
        "B000000001",
        "B000000002",
        "B000000003",
    ]
    assert related_in_html("") == []


def test_the_five_core_of_reviews_is_taken_where_the_whole_file_is_missing(tmp_path):
    directory = tmp_path / "amazon_review_2018" / "review"
    directory.mkdir(parents=True)
    (directory / "Toys_5.json.gz").write_bytes(b"x")
    assert review_file(Storage(), str(tmp_path), "Toys").endswith("/Toys_5.json.gz")
    (directory / "Toys.json.gz").write_bytes(b"x")
    assert review_file(Storage(), str(tmp_path), "Toys").endswith("/Toys.json.gz")


def test_every_missing_file_is_named(tmp_path):
    (tmp_path / "there").write_bytes(b"x")
    with pytest.raises(InputError, match=r"raw files are missing: .*/one, .*/two\. "):
        require(Storage(), [str(tmp_path / name) for name in ("one", "there", "two")])
