"""Exit codes and the last line: all that `ray job submit` users have to go by."""

import json
import re
import time

import pytest

from ecellm.command_line import main, run_guarded
from ecellm.errors import InputError, OutputHeldError, find_cause
from ecellm.fingerprint import RUN_NAME, fingerprint_of
from ecellm.stages import load_stage

pytestmark = pytest.mark.usefixtures("local_ray")
LOGIN = "me:must-not-be-seen"
ROW = {
    "task": "Product_Matching",
    "split": "test",
    "setting": "IND_Diverse_Instruction",
    "instruction": "i",
    "input": "x",
    "options": None,
    "output": "yes",
    "few_shot_example": None,
}


@pytest.fixture
def release(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps([ROW]))
    return path


def run(capsys, *arguments, job="ingest"):
    code = main(load_stage(job), [str(argument) for argument in arguments])
    out = capsys.readouterr().out
    last = out.strip().splitlines()[-1]
    assert re.fullmatch(rf"ecellm: exit={code} reason=.+", last), last
    return code, out


def test_done_and_done_again(release, tmp_path, capsys):
    arguments = (f"release={release}", f"output_dir={tmp_path / 'out'}")
    assert run(capsys, *arguments)[0] == 0
    manifest = (tmp_path / "out" / "_manifest.json").read_text()
    assert run(capsys, *arguments)[0] == 0
    assert (tmp_path / "out" / "_manifest.json").read_text() == manifest


def test_a_dry_run_shows_all_and_writes_nothing(release, tmp_path, capsys):
    code, out = run(capsys, f"release={release}", f"output_dir={tmp_path / 'out'}", "--dry-run")
    assert code == 0
    assert "nothing there yet" in out
    assert "on_bad_row: fail" in out
    fingerprint = re.search(r"fingerprint: ([0-9a-f]{64})", out).group(1)
    assert not (tmp_path / "out").exists()
    run(capsys, f"release={release}", f"output_dir={tmp_path / 'out'}")
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["fingerprint"] == fingerprint


def test_a_dry_run_makes_the_checks_too(release, tmp_path, capsys):
    labels = tmp_path / "labels.json"
    labels.write_text("[]")
    code, out = run(capsys, f"release={release}", f"qpr_labels={labels}", f"output_dir={tmp_path / 'out'}", "--dry-run")
    assert code == 2
    assert "must be a JSON list" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["releese=x", "output_dir=o"], "did you mean 'release'"),
        (["release=nowhere.json", "output_dir=o"], "nowhere.json does not exist"),
        (["a.yaml", "b.yaml"], "one recipe at a time"),
        (["nowhere.yaml"], "cannot read recipe nowhere.yaml"),
        (["--no-such-option"], "--no-such-option"),
        (["release=a", "output_dir=o", "storage.endpoint_url=127.0.0.1:8333"], "storage.endpoint_url"),
        ([f"release=http://{LOGIN}@127.0.0.1:9/x.json", "output_dir=o"], "[redacted]@127.0.0.1"),
    ],
)
def test_bad_input_is_exit_code_2(capsys, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out = run(capsys, *arguments)
    assert code == 2
    assert told in out.splitlines()[-1]
    assert "Traceback" not in out
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_the_input_is_refused(release, tmp_path, capsys):
    samples = tmp_path / "samples"
    assert run(capsys, f"release={release}", f"output_dir={samples}")[0] == 0
    before = sorted(samples.rglob("*"))
    code, out = run(
        capsys,
        f"samples_dir={samples}",
        f"output_dir={samples}",
        "engine=fake",
        "model=a/b",
        "overwrite=true",
        job="predict",
    )
    assert code == 2
    assert "lies in output_dir" in out
    assert sorted(samples.rglob("*")) == before


def test_an_output_held_by_another_run_is_exit_code_3(release, tmp_path, capsys):
    identity_of = re.compile(r"fingerprint: ([0-9a-f]{64})")
    arguments = (f"release={release}", f"output_dir={tmp_path / 'out'}")
    fingerprint = identity_of.search(run(capsys, *arguments, "--dry-run")[1]).group(1)
    (tmp_path / "out").mkdir()
    owner = {"id": "other", "host": "elsewhere", "pid": 1}
    record = {"job": "ingest", "fingerprint": fingerprint, "owner": owner, "heartbeat": time.time()}
    (tmp_path / "out" / RUN_NAME).write_text(json.dumps(record))
    code, out = run(capsys, *arguments)
    assert code == 3
    assert "elsewhere" in out


def test_anything_else_is_exit_code_1_with_its_traceback(capsys):
    def fail():
        raise ZeroDivisionError("in the code")

    assert run_guarded(fail) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "ecellm: exit=1 reason=ZeroDivisionError: in the code"
    assert "Traceback" in captured.err


def test_help_lists_the_fields(capsys):
    with pytest.raises(SystemExit) as ended:
        main(load_stage("ingest"), ["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "on_bad_row: a row with an unknown task" in out
    assert "storage.endpoint_url" in out


def test_the_cause_is_found_through_ray(local_ray):
    import ray

    def refuse():
        raise InputError("the file is bad")

    with pytest.raises(InputError) as caught:
        ray.get(ray.remote(refuse).remote())
    assert str(find_cause(caught.value, InputError)) == "the file is bad"
    assert find_cause(caught.value, OutputHeldError) is None


def test_a_fingerprint_is_of_content_not_of_order():
    assert fingerprint_of({"a": 1, "b": [1, 2]}) == fingerprint_of({"b": [1, 2], "a": 1})
    with pytest.raises(TypeError):
        fingerprint_of({"a": {1, 2}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint_of({"a": float("nan")})
