"""Hostile input, drawn by hypothesis: bytes that were damaged, and valid JSON in which a value was replaced.

Everything starts from valid seeds, so that most of what is drawn gets past the first check of a reader.
"""

import json

from hypothesis import strategies as st

# JSON texts of one value each; not all of them are valid.
HOSTILE_JSON = [
    "null", "true", "0", "-1", "1.5", '""', "[]", "{}", "[null]", '[""]', '{"": null}', "NaN", "Infinity", "-Infinity",
    "1e400", "-1e400", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "9" * 5000, "1e-400",
    '"\\ud800"', '"\\udfff text"', '"\\u0000"', '"a\\u2028b\\u0085c"', '"\\u202egnp.exe"', '"%s"' % ("x" * 70_000),
    '"../../../etc/passwd"', '"a\\nb"', '"caf\u00e9 \U0001f600"', '"2024-13-45"', '["A", 1, null, {}]',
    "[" * 300 + "]" * 300, "[" * 100_000 + "]" * 100_000, '{"a":' * 700 + "1" + "}" * 700,
    '{"a": 1, "a": "twice"}', "'single'", "undefined", "0x10", "1_000", "+1", "01", ".5", "1.", "--1", "[1,]", "[,]",
]  # fmt: skip
HOSTILE_BYTES = [
    b"", b"\0", b"\0" * 5000, b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80",
    b"\r", b"\r\n", b"\n" * 300, b" " * 5000, b"\x1b[2J", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"<html>", b"---\n",
    b"]" * 50, b"}" * 50, b'"', b"'", b"\\", b"{", b"[", b",", b":", b"&a [*a]", b"!!python/object:os.system x",
    *(text.encode() for text in HOSTILE_JSON if len(text) < 10_000),
]  # fmt: skip


@st.composite
def damaged_bytes(draw, seeds):
    """Draw one of `seeds`, damaged up to four times: bits flipped, a piece cut out, put in, doubled, or of another."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 7, 40, 500, 1 << 30])))
        kind = draw(st.sampled_from(["flip", "cut", "put", "double", "splice", "end"]))
        if kind == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
        elif kind == "cut":
            data = data[:start] + data[end:]
        elif kind == "put":
            data = data[:start] + draw(st.sampled_from(HOSTILE_BYTES)) + data[start:]
        elif kind == "double":
            data = data[:end] + data[start:end] * draw(st.integers(1, 50)) + data[end:]
        elif kind == "splice":
            other = draw(st.sampled_from(seeds))
            data = data[:start] + other[draw(st.integers(0, len(other))) :]
        else:
            data = data[:start]
    return data


def _places(value, path=()):
    """Yield the paths of all values inside a value, its own first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


_MARK = "@@hostile@@"


def _changed(value, path, kind):
    """Return a copy of a value with the one at `path` marked, left out, doubled, nested, or under another name."""
    if not path:
        return [value] if kind == "nest" else _MARK
    key, *rest = path
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    result = []
    for own, inner in pairs:
        if own != key:
            result.append((own, inner))
        elif rest:
            result.append((own, _changed(inner, rest, kind)))
        elif kind == "leave out":
            continue
        elif kind == "rename":
            result.append((f"{own}x", inner))
        elif kind == "double":
            result += [(own, inner), (f"{own} ", inner)]
        else:
            result.append((own, [inner] if kind == "nest" else _MARK))
    return dict(result) if isinstance(value, dict) else [inner for _, inner in result]


@st.composite
def changed_json(draw, values):
    """Draw one of JSON-able `values` as a JSON text in which one to three values are replaced, left out or nested."""
    value = draw(st.sampled_from(values))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_places(value))))
        value = _changed(value, path, draw(st.sampled_from(["mark", "mark", "leave out", "rename", "double", "nest"])))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    while f'"{_MARK}"' in text:
        text = text.replace(f'"{_MARK}"', draw(st.sampled_from(HOSTILE_JSON)), 1)
    return text.replace(_MARK, "@").encode("utf-8", "surrogatepass")
