"""An S3 server of a test's own that can be stopped and started again on the same data and ports."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import object_store
from tests.object_store import ObjectStore


@dataclass
class RestartableStore:
    """The server.

    Attributes:
        store: where it is and how to log in.
        process: its launcher; ended while it is stopped.
        log: what it prints.
    """

    store: ObjectStore
    process: subprocess.Popen
    log: Path

    def stop(self) -> None:
        """Stop it in order, as for an update: what it has acknowledged is on its disk."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            object_store._stop(self.process)

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self.process.args, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        assert object_store._is_up(self.store.endpoint_url, self.process), self.log.read_text()[-2000:]


@contextmanager
def restartable_store() -> Iterator[RestartableStore]:
    """Start a server with one account, give it, stop it."""
    with tempfile.TemporaryDirectory(prefix="ecellm-weed-") as scratch:
        process, endpoint = object_store._start(Path(scratch))
        environment = {
            "AWS_ACCESS_KEY_ID": object_store.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": object_store.SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        server = RestartableStore(ObjectStore(endpoint, environment), process, Path(scratch) / "log")
        try:
            yield server
        finally:
            object_store._stop(server.process)
