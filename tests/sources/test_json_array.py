"""The streaming reader gives what json gives, wherever the window's borders fall."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecellm.errors import InputError
from ecellm.sources import json_array

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(elements=st.lists(VALUES, max_size=6), size=st.integers(1, 40), ascii_only=st.booleans(), space=st.booleans())
def test_any_array_is_read_as_json_reads_it(elements, size, ascii_only, space):
    text = json.dumps(elements, ensure_ascii=ascii_only, indent=1 if space else None)
    data = text.encode("utf-8", "surrogatepass")
    original = json_array._READ_BYTES
    json_array._READ_BYTES = size
    try:
        got = list(json_array.iter_json_array(io.BytesIO(data), "f"))
    finally:
        json_array._READ_BYTES = original
    assert got == json.loads(text)


@settings(max_examples=200, deadline=None)
@given(elements=st.lists(VALUES, min_size=1, max_size=4), cut=st.integers(1, 200))
def test_an_array_cut_anywhere_is_refused(elements, cut):
    data = json.dumps(elements).encode()
    data = data[: max(1, len(data) - cut)] if cut < len(data) else data[:1]
    with pytest.raises(InputError, match="cut off or malformed"):
        list(json_array.iter_json_array(io.BytesIO(data), "f"))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_end_in_values_or_in_a_message(data):
    for prefix in (b"", b"[", b'[{"a":'):
        try:
            list(json_array.iter_json_array(io.BytesIO(prefix + data), "f"))
        except InputError as error:
            assert str(error).startswith("f ")


def test_deep_nesting_is_refused():
    with pytest.raises(InputError):
        list(json_array.iter_json_array(io.BytesIO(b"[" + b"[" * 100_000), "f"))
