"""Something that is done again and again beside the work, from a thread of its own."""

import threading
from collections.abc import Callable


class Repeated:
    """Calls a function every so many seconds between `start` and `stop`, or until it says that this was the last time.

    Args:
        function: returns whether to go on; it must not raise.
        seconds: between two calls, and before the first.
        name: of the thread.
    """

    def __init__(self, function: Callable[[], bool], seconds: float, name: str) -> None:
        self._function = function
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a call that is under way."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            if not self._function():
                return
