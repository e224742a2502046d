"""A real S3 server on this machine, for tests: SeaweedFS from its PyPI package."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import pytest
import s3fs

# Made up for a server that lives for the length of a test.
ACCESS_KEY = "ecellm-test"
SECRET_KEY = "ecellm-test-only"  # pragma: allowlist secret


@dataclass(frozen=True)
class ObjectStore:
    """Where the server is and how to log in."""

    endpoint_url: str
    environment: dict[str, str]

    def filesystem(self) -> s3fs.S3FileSystem:
        """Return a filesystem on the server, logged in whatever this process's environment says.

        It keeps no listings: the jobs that a test looks at write from other processes.
        """
        return s3fs.S3FileSystem(
            endpoint_url=self.endpoint_url,
            key=self.environment["AWS_ACCESS_KEY_ID"],
            secret=self.environment["AWS_SECRET_ACCESS_KEY"],
            use_listings_cache=False,
        )

    def log_in(self, monkeypatch: pytest.MonkeyPatch, bucket: str | None = None) -> s3fs.S3FileSystem:
        """Let this process's own code reach the server, as a node's environment does; return a filesystem on it.

        Args:
            monkeypatch: takes it back after the test.
            bucket: made if there is none.
        """
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # of filesystems that other credentials were given to
        fs = self.filesystem()
        if bucket is not None and not fs.exists(bucket):
            fs.mkdir(bucket)
        return fs


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on now, none of them in the upper range that SeaweedFS derives (+10000)."""
    found: list[int] = []
    candidate = 20_000 + (time.time_ns() // 1000) % 20_000
    while len(found) < number:
        candidate += 1
        with socket.socket() as probe, socket.socket() as derived:
            try:
                probe.bind(("127.0.0.1", candidate))
                derived.bind(("127.0.0.1", candidate + 10_000))
            except OSError:
                continue
        found.append(candidate)
    return found


def weed_binary() -> str | None:
    """Return the SeaweedFS binary of the environment that runs the tests, or None."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def duckdb_over_s3(store: ObjectStore) -> duckdb.DuckDBPyConnection:
    """Return a connection that reads the server's `s3://` paths: what users do, without any code of ours.

    The extension is the one that its PyPI package ships: nothing is fetched.
    """
    extension = next(Path(duckdb_extension_httpfs.__path__[0]).rglob("httpfs.duckdb_extension"))
    connection = duckdb.connect(config={"autoload_known_extensions": False})
    connection.execute(f"LOAD '{extension}'")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{store.environment['AWS_ACCESS_KEY_ID']}', "
        f"SECRET '{store.environment['AWS_SECRET_ACCESS_KEY']}', "
        f"ENDPOINT '{store.endpoint_url.removeprefix('http://')}', USE_SSL false, URL_STYLE 'path')"
    )
    return connection


@contextmanager
def running_object_store() -> Iterator[ObjectStore]:
    """Start a server with one account, give it, stop it."""
    with tempfile.TemporaryDirectory(prefix="ecellm-weed-") as scratch:
        process, endpoint = _start(Path(scratch))
        try:
            environment = {
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            yield ObjectStore(endpoint, environment)
        finally:
            _stop(process)


def _start(scratch: Path, tries: int = 3) -> tuple[subprocess.Popen, str]:
    """Start the server; again with other ports if another process took one in between."""
    config = scratch / "s3.json"
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(json.dumps({"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}))
    binary = weed_binary()
    assert binary is not None
    for attempt in range(tries):
        master, volume, filer, s3 = free_ports(4)
        data = scratch / f"data-{attempt}"
        data.mkdir()
        command = [
            binary, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={config}",
            f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
            "-master.volumeSizeLimitMB=64", "-volume.max=0", "-master.telemetry=false", "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]  # fmt: skip
        log = scratch / f"log-{attempt}"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        endpoint = f"http://127.0.0.1:{s3}"
        if _is_up(endpoint, process):
            return process, endpoint
        _stop(process)
    raise AssertionError(f"no S3 server: {log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen) -> None:
    """Kill the launcher and the server, its child. The data go with it, so it need not be asked."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _is_up(endpoint: str, process: subprocess.Popen, timeout_seconds: float = 60) -> bool:
    """Wait until the server answers S3 requests (a refusal, 403, is an answer); False if it ended or hangs."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=2)
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False
