"""The one property of all readers: rows, or one message that names the file; and how often it is tried."""

import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

from ecellm.errors import InputError

FEW = 12
EXAMPLES = int(os.environ.get("ECELLM_FUZZ_EXAMPLES", str(FEW)))
# A message fits a screen or two, whatever it quotes.
MOST_CHARACTERS = 6_000
# Of one example, in CPU time, which other work on the machine does not stretch.
MOST_SECONDS = 60


def fuzzed(share=1.0):
    """Return hypothesis's settings: few examples in `make test`, ECELLM_FUZZ_EXAMPLES of each property in `make fuzz`.

    Args:
        share: less than 1 where one example takes long.
    """
    return settings(
        max_examples=max(3, int(EXAMPLES * share)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@contextmanager
def scratch_directory():
    """Give a directory of this example's own."""
    with tempfile.TemporaryDirectory(prefix="ecellm-fuzz-") as name:
        yield Path(name)


def _took_too_long(*_):
    raise AssertionError(f"one example took more than {MOST_SECONDS} s of CPU time")


@contextmanager
def _limited():
    """End what does not end: pytest's own limit is of all examples together."""
    before = signal.signal(signal.SIGPROF, _took_too_long)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def read_or_be_told(read, *named):
    """Return what `read` returns, or None where it refuses its input as it should; anything else it raises is a bug.

    Args:
        read: reads hostile input.
        named: texts of which the message must hold one: paths, names of fields.
    """
    try:
        with _limited():
            return read()
    except InputError as error:
        message = str(error)
        assert any(str(name) in message for name in named), f"names none of {named}: {message[:500]}"
        assert len(message) < MOST_CHARACTERS, message[:500]
        return None
