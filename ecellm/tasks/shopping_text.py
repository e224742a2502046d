"""Queries and titles of Shopping Queries as samples show them. Source: ecinstruct's rules for MPC, PSI and QPR."""

import re
import unicodedata

_SPACE_OR_BREAK = re.compile(r"</?p>|</?br>|\s")


def to_ascii(text: str) -> str:
    """Return a text NFKD-normalised, without what is not ASCII then."""
    return text if text.isascii() else unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def query_text(query: str) -> str:
    """Return a query as samples show it."""
    return to_ascii(query)


def title_text(title: str | None) -> str:
    """Return a title as samples show it: ASCII, every white-space character and break tag a space; missing is empty."""
    return _SPACE_OR_BREAK.sub(" ", to_ascii(title)) if title else ""


def is_english(text: str | None) -> bool:
    """Tell whether a text of the US locale is in English, as far as its script tells: half of its letters are Latin.

    Texts without letters, and missing ones, pass. Other languages in Latin script pass too: the locale stands for the
    language, and detectors guess wrong on texts as short as queries.
    """
    if not text or text.isascii():
        return True
    letters = [character for character in text if character.isalpha()]
    latin = sum(character.isascii() or "LATIN" in unicodedata.name(character, "") for character in letters)
    return 2 * latin >= len(letters)
