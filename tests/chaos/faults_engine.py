"""A fake engine that dies in an actor of predict; the answer space, which is called there, sets it up."""

import ctypes
import os
import signal
from pathlib import Path

from ecellm.stages import answer_space


def crash():
    """Die as of a bug in native code; a SIGSEGV sent by hand would arrive some rows later."""
    ctypes.string_at(0)


def be_killed():
    """Die as by the kernel when memory is out."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_engine(is_deadly, log, die):
    """Return an answer space in whose process the fake engine dies of some batches.

    Args:
        is_deadly: tells of the requests of a batch whether the process dies of them.
        log: path of a file that gets a line for every death: the number of requests.
        die: ends the process.
    """

    def space(row):  # it travels by value to actors, which cannot import the tests
        from ecellm.inference.engines.fake import FakeEngine

        original = FakeEngine.answer

        def answer(engine, requests, adapter):
            if is_deadly(requests):
                with Path(log).open("a") as file:
                    file.write(f"{len(requests)}\n")
                die()
            return original(engine, requests, adapter)

        if not hasattr(FakeEngine, "is_set_up"):
            FakeEngine.is_set_up, FakeEngine.answer = True, answer
        return answer_space(row)

    return space
