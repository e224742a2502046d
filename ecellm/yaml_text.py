"""YAML that users write, recipes and lists of addresses: plain values in bounded memory, or one kind of error.

PyYAML's safe loader runs no code, but what it gives can still be too much: aliases of aliases stand for more values
than any memory holds once somebody walks through them, numbers have no size, a key that is there twice is the last one
without a word, and its converters of dates and numbers raise whatever Python raises.
"""

from typing import Any

import yaml

MAX_BYTES = 4 << 20
_MAX_VALUES = 100_000
_CHARACTERS_OF_A_VALUE = 100  # a long text counts as so many values
_MAX_INTEGER = 2**63 - 1
# Of PyYAML's converters: a date of month 13, `!!bool maybe`, `!!int ""`, `!!timestamp x`, lists as keys.
_CONVERSION_ERRORS = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


def parse_yaml(text: str | bytes) -> Any:
    """Return the value of a YAML text.

    Raises:
        ValueError: it is no YAML, asks for an object of Python's, has a key twice, stands for more than 100,000 values,
            is nested too deeply, or holds a number or a text that no config can hold.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES >> 20} MiB")
    try:
        value = _value_of(yaml.SafeLoader(text))
        _check_values(value)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _CONVERSION_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from None
    return value


def _value_of(loader: yaml.SafeLoader) -> Any:
    """Return the value of a document that stands for no more than it should; None of an empty one."""
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Counter().count(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Counter:
    """Counts the values that a node stands for, each alias as often as it is used; a node itself is looked at once."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}  # 0 while a node is looked at

    def count(self, node: yaml.Node) -> int:
        """Return how many values `node` stands for.

        Raises:
            ValueError: too many, or it holds itself, or a mapping has a key twice.
        """
        known = self._counts.get(id(node))
        if known == 0:
            raise ValueError(f"{_place(node)}: an alias stands in what it stands for")
        if known is None:
            self._counts[id(node)] = 0
            length = len(node.value) // _CHARACTERS_OF_A_VALUE if isinstance(node, yaml.ScalarNode) else 0
            known = self._counts[id(node)] = 1 + length + sum(self.count(child) for child in _children(node))
        if known > _MAX_VALUES:
            raise ValueError(f"{_place(node)}: more than {_MAX_VALUES:,} values")
        return known


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node)
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # a list or mapping is refused as a key when values are made
        if (key.tag, key.value) in seen:
            raise ValueError(f"{_place(key)}: the key {key.value!r} is there twice")
        seen.add((key.tag, key.value))


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"


def _check_values(value: Any) -> None:
    """Raise ValueError for what YAML can write and neither JSON, Parquet nor a path can hold."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_values(key)
            _check_values(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            _check_values(inner)
    elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError("a whole number has more than 64 bits")
    elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise ValueError("a text holds a NUL byte or half a character")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
