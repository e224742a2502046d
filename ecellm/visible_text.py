"""Text of unknown origin, made safe to look at: what would be invisible, or change the order of the text, is shown."""

import re
import reprlib
import unicodedata
from typing import Any

# Controls except tab and line feed; separators that some programs take for the end of a line; marks, overrides and
# isolates of writing direction; zero-width characters (but the joiners, which emoji and Persian need) and the byte
# order mark; halves of characters; codes that are no characters, which XML refuses; tags. The page's script has the
# same list.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return `text` with each invisible or reordering character replaced by its code: `⟨U+202E⟩`."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def short_text(text: str, length: int, *, keep_end: int = 0) -> str:
    """Return a text on one line, `visible`, cut to a width, with an ellipsis where something is cut off.

    Args:
        text: of unknown origin.
        length: most characters; those of East Asian scripts, twice as wide as others, count twice.
        keep_end: how much of the end stays where the middle is cut out.
    """
    line = visible(" ".join(text.split()))
    if _width(line) <= length:
        return line
    end = _fitting(line[::-1], keep_end)[::-1]
    return _fitting(line, length - 1 - _width(end)) + "…" + end


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20
_SHORT.maxstring = _SHORT.maxother = 300


def short_repr(value: Any) -> str:
    """Return a value of any size and depth as Python writes it, in part where it is large: for messages."""
    return _SHORT.repr(value)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _fitting(text: str, width: int) -> str:
    """Return as much of a text's beginning as fits."""
    end = 0
    while end < len(text) and width >= (need := _width(text[end])):
        width -= need
        end += 1
    return text[:end]
