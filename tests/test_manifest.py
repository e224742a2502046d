"""Who may write an output directory, and what is there afterwards."""

import json
import socket
import time
from hashlib import sha256

import pytest

from ecellm.errors import InputError, OutputHeldError
from ecellm.fingerprint import MANIFEST_NAME, RUN_NAME, fingerprint_input, fingerprint_of
from ecellm.finished_files import describe_files
from ecellm.manifest import OutputState, RunDirectory, read_state
from ecellm.redaction import redacted, redacted_arguments, redacted_text
from ecellm.stage import Outcome
from ecellm.storage import Storage

HIDDEN = "must-not-be-seen"
IDENTITY = {"job": "build", "stage_version": 1, "inputs": {"raw_dir": "a"}, "config": {"seed": 1}}
OTHER = {**IDENTITY, "config": {"seed": 2}}


def claim(path, identity=IDENTITY, *, overwrite=False):
    return RunDirectory.claim(Storage(), str(path), identity, overwrite=overwrite)


def finish(path, identity=IDENTITY):
    with claim(path, identity) as directory:
        (path / "data.txt").write_text("x")
        files = describe_files(Storage(), str(path))
        directory.finish(config={"seed": 1}, outcome=Outcome(rows=1), files=files, wall_seconds=1.0)


def state(path, identity=IDENTITY):
    return read_state(Storage(), str(path), fingerprint_of(identity))


def test_a_directory_goes_from_absent_to_done(tmp_path):
    out = tmp_path / "out"
    assert state(out) == OutputState.ABSENT
    with claim(out):
        assert state(out) == OutputState.RESUMABLE
    finish(out)
    assert state(out) == OutputState.DONE
    assert state(out, OTHER) == OutputState.DIFFERENT
    manifest = json.loads((out / MANIFEST_NAME).read_text())
    assert manifest["files"] == [{"name": "data.txt", "size": 1, "sha256": sha256(b"x").hexdigest()}]
    assert manifest["fingerprint"] == fingerprint_input(Storage(), str(out))


def test_another_configuration_is_refused_with_the_field_that_differs(tmp_path):
    out = tmp_path / "out"
    finish(out)
    with pytest.raises(InputError, match=r"config\.seed: 1 there, 2 now"):
        claim(out, OTHER)
    assert (out / "data.txt").exists()
    with claim(out, OTHER, overwrite=True):
        assert not (out / "data.txt").exists()


def test_a_directory_of_someone_else_is_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not written by ecellm"):
        claim(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def held_by(path, *, host, pid, age):
    path.mkdir()
    record = {**IDENTITY, "fingerprint": fingerprint_of(IDENTITY), "heartbeat": time.time() - age}
    (path / RUN_NAME).write_text(json.dumps({**record, "owner": {"id": "x", "host": host, "pid": pid}}))


def test_a_young_heartbeat_of_another_host_holds_the_directory(tmp_path):
    held_by(tmp_path / "out", host="another-host", pid=1, age=10)
    with pytest.raises(OutputHeldError, match="another-host"):
        claim(tmp_path / "out")


def test_an_old_heartbeat_is_taken_over(tmp_path):
    held_by(tmp_path / "out", host="another-host", pid=1, age=61)
    with claim(tmp_path / "out"):
        pass


def test_a_dead_process_of_this_host_holds_nothing(tmp_path):
    held_by(tmp_path / "out", host=socket.gethostname(), pid=2**22 + 1, age=1)
    with claim(tmp_path / "out"):
        pass


def test_a_process_of_another_container_with_this_host_s_name_may_live(tmp_path):
    held_by(tmp_path / "out", host=socket.gethostname(), pid=2**22 + 1, age=1)
    path = tmp_path / "out" / RUN_NAME
    record = json.loads(path.read_text())
    record["owner"]["pid_namespace"] = "pid:[1]"
    path.write_text(json.dumps(record))
    with pytest.raises(OutputHeldError):
        claim(tmp_path / "out")


def test_two_at_once_in_one_process(tmp_path):
    with claim(tmp_path / "out"), pytest.raises(OutputHeldError):
        claim(tmp_path / "out")


def test_a_directory_taken_over_is_not_declared_done(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(OutputHeldError), claim(out) as directory:
        record = json.loads((out / RUN_NAME).read_text())
        record["owner"] = {"id": "someone", "host": "h", "pid": 1}
        (out / RUN_NAME).write_text(json.dumps(record))
        directory.finish(config={}, outcome=Outcome(rows=1), files=[], wall_seconds=1.0)
    assert not (out / MANIFEST_NAME).exists()


def test_an_unfinished_input_is_refused(tmp_path):
    out = tmp_path / "out"
    with claim(out):
        pass
    with pytest.raises(InputError, match="not finished"):
        fingerprint_input(Storage(), str(out))


def test_secrets_do_not_reach_the_manifest():
    url = f"http://me:{HIDDEN}@host/x"
    config = {"storage": {"endpoint_url": url}, "api_key": HIDDEN, "max_answer_tokens": 5}
    text = json.dumps([redacted(config), redacted_arguments([f"a.secret={HIDDEN}", f"raw_dir=s3://k:{HIDDEN}@b/c"])])
    assert HIDDEN not in text
    assert '"max_answer_tokens": 5' in text


@pytest.mark.parametrize(
    "url",
    ["http://me:{}@host/x.json", "s3://k:p@{}@bucket/x", "https://h/x?X-Amz-Signature={}&a=1", "https://h/x?token={}"],
)
def test_secrets_in_urls_are_hidden_wherever_they_stand(url):
    assert HIDDEN not in redacted_text(f"cannot read {url.format(HIDDEN)}: refused")


def test_hidden_files_of_someone_else_are_seen_and_kept(tmp_path):
    out = tmp_path / "out"
    finish(out)
    (out / ".env").write_text("precious")
    with claim(out, OTHER, overwrite=True):
        assert (out / ".env").read_text() == "precious"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / ".env").write_text("precious")
    assert state(tmp_path / "theirs") == OutputState.FOREIGN


def test_a_part_of_an_unfinished_output_is_refused(tmp_path):
    with claim(tmp_path / "out"):
        (tmp_path / "out" / "adapter").mkdir()
        (tmp_path / "out" / "adapter" / "x").write_text("half")
        with pytest.raises(InputError, match="not finished"):
            fingerprint_input(Storage(), str(tmp_path / "out" / "adapter"))


def test_a_run_that_lost_its_directory_leaves_it_to_the_other(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), claim(out):
        record = json.loads((out / RUN_NAME).read_text())
        record["owner"] = {"id": "someone", "host": "h", "pid": 1}
        (out / RUN_NAME).write_text(json.dumps(record))
        raise ZeroDivisionError
    assert json.loads((out / RUN_NAME).read_text())["owner"]["id"] == "someone"


def test_a_run_that_failed_at_once_leaves_no_trace(tmp_path):
    with pytest.raises(InputError), claim(tmp_path / "out"):
        raise InputError("bad input")
    assert state(tmp_path / "out", OTHER) == OutputState.ABSENT


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_interrupted_at_once_is_gone_on_with_whatever_its_workers_write(tmp_path, end):
    with pytest.raises(end), claim(tmp_path / "out"):
        raise end
    (tmp_path / "out" / "checkpoints").mkdir()
    (tmp_path / "out" / "checkpoints" / "late.json").write_text("{}")
    with claim(tmp_path / "out"):
        pass


def test_a_mistyped_part_of_an_output_is_named(tmp_path):
    finish(tmp_path / "out")
    with pytest.raises(InputError, match="adaptr does not exist"):
        fingerprint_input(Storage(), str(tmp_path / "out" / "adaptr"))
