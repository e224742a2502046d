"""Keeps secrets out of logs, manifests and errors.

What is hidden: values under keys that name a secret, credentials in URLs, and, wherever they stand, the values of
environment variables that name a secret: libraries repeat in their errors what they were given.
"""

import logging
import os
import re
import traceback
from collections.abc import Mapping
from typing import Any

_HIDDEN = "[redacted]"
_SECRET_WORDS = ("password", "secret", "token", "api_key", "access_key", "credential")
# Field names that hold a secret word and no secret.
_NOT_SECRET = ("max_answer_tokens", "tokens")
_SECRET_VARIABLE = re.compile(r"(?:^|_)(?:PASSWORD|SECRET|TOKEN|API_?KEY|ACCESS_KEY)$", re.IGNORECASE)
_SHORTEST_SECRET = 8  # a shorter value may be an ordinary word
_LOGIN = re.compile(r"(\w+://)[^/\s]*@")
_SIGNED_QUERY = re.compile(r"([?&][\w-]*(?:signature|credential|token|key|secret)[\w-]*=)[^&\s]+", re.IGNORECASE)


def redacted_text(text: str) -> str:
    """Return `text` without known secrets, logins (what stands before `@` in a URL) and signatures in URLs."""
    for secret in _known_secrets():
        text = text.replace(secret, _HIDDEN)
    return _SIGNED_QUERY.sub(rf"\1{_HIDDEN}", _LOGIN.sub(rf"\1{_HIDDEN}@", text))


def redacted(value: Any, key: str = "") -> Any:
    """Return `value` with everything under a key that names a secret replaced, and credentials cut from URLs."""
    if isinstance(value, Mapping):
        return {name: redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, key) for item in value]
    if value is not None and _is_secret(key):
        return _HIDDEN
    return redacted_text(value) if isinstance(value, str) else value


def redacted_arguments(arguments: list[str]) -> list[str]:
    """Return command-line arguments with the values of secret keys replaced."""
    result = []
    for argument in arguments:
        key, separator, value = argument.partition("=")
        result.append(f"{key}={redacted(value, key)}" if separator else redacted_text(argument))
    return result


def redacted_traceback(error: BaseException) -> str:
    """Return the traceback of `error`, with its causes, redacted."""
    return redacted_text("".join(traceback.format_exception(error)))


class RedactingFormatter(logging.Formatter):
    """Formats log records as usual, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return redacted_text(super().format(record))


def _known_secrets() -> list[str]:
    """Return the values of this process's environment that are secret, longest first: one may hold another."""
    values = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    return sorted((value for value in values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS) and not key.lower().endswith(_NOT_SECRET)
