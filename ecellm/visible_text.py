"""Text of unknown origin, made safe to look at: what would be invisible, or change the order of the text, is shown."""

import re

# Controls except tab and line feed; separators that some programs take for the end of a line; marks, overrides and
# isolates of writing direction; zero-width characters (but the joiners, which emoji and Persian need) and the byte
# order mark; halves of characters; tags. The page's script has the same list.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return `text` with each invisible or reordering character replaced by its code: `⟨U+202E⟩`."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def short_text(text: str, length: int) -> str:
    """Return a text on one line, `visible`, cut to `length` characters with an ellipsis where something is cut off."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= length else line[: length - 1] + "…"
