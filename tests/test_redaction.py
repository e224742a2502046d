"""Secrets of the environment are hidden wherever a text repeats them."""

import logging

from ecellm.redaction import RedactingFormatter, redacted_text, redacted_traceback

KEY = "made-up-key-of-a-store"


def test_values_of_secret_variables_are_hidden(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("SOME_API_KEY", f"{KEY}-and-more")
    assert redacted_text(f"signed with {KEY}, then {KEY}-and-more") == "signed with [redacted], then [redacted]"


def test_ordinary_values_and_short_ones_are_kept(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "sometimes")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/token")
    monkeypatch.setenv("A_TOKEN", "abc")
    text = "sometimes /home/me/token abc"
    assert redacted_text(text) == text


def test_tracebacks_and_log_records_are_redacted_with_their_causes(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEY)
    error = RuntimeError(f"outer {KEY}")
    error.__cause__ = ValueError("at http://me:hunter2@host")  # pragma: allowlist secret
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed: %s", (KEY,), (RuntimeError, error, None))
    for text in (redacted_traceback(error), RedactingFormatter("%(message)s").format(record)):
        assert KEY not in text
        assert "hunter2" not in text
        assert "outer [redacted]" in text
        assert "http://[redacted]@host" in text
