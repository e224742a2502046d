"""Keeps secrets out of logs, manifests and errors: values under keys that name a secret, and credentials in URLs."""

import re
from collections.abc import Mapping
from typing import Any

_HIDDEN = "[redacted]"
_SECRET_WORDS = ("password", "secret", "token", "api_key", "access_key", "credential")
# Field names that hold a secret word and no secret.
_NOT_SECRET = ("max_answer_tokens", "tokens")
_LOGIN = re.compile(r"(\b\w++://)[^/\s]*@")  # no second look at any letter: a word may be a megabyte long
_SIGNED_QUERY = re.compile(r"([?&][\w-]*(?:signature|credential|token|key|secret)[\w-]*=)[^&\s]+", re.IGNORECASE)


def redacted_text(text: str) -> str:
    """Return `text` without logins (what stands before `@` in a URL) and without signatures in URLs' queries."""
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


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS) and not key.lower().endswith(_NOT_SECRET)
