"""No secret gets into anything that a run leaves behind: what it says, its outputs, Ray's logs, command lines."""

import pytest

from tests.security.conftest import BUCKET
from tests.security.made_up_secrets import PASSWORD, files_with_secrets, found_in

ENDINGS = [
    "exit=0 reason=done",
    "exit=1 reason=RayTaskError(RuntimeError)",
    "exit=2 reason=http://[redacted]@127.0.0.1:1/own.jsonl",
    "exit=2 reason=the command line: storage.endpoint_url:",
    "exit=2 reason=http://127.0.0.1",
    f"exit=2 reason=no access to s3://{BUCKET}/d",
]


def test_the_runs_end_as_meant(runs):
    assert len(runs.endings) == len(ENDINGS), runs.output
    for ending, expected in zip(runs.endings, ENDINGS, strict=True):
        assert ending.startswith(expected), runs.output[-4000:]
    assert "signed with [redacted]" in runs.output, "the exception is told, without its secrets"


def test_nothing_that_is_said_holds_a_secret(runs):
    assert not found_in(runs.secrets, runs.output.encode())


def test_no_output_holds_a_secret(runs):
    files = runs.bucket.find(f"{BUCKET}/run")
    assert {file.split("/")[2] for file in files} == {"samples", "rows", "tuned", "answers", "scores"}
    assert {"report.html", "README.md", "_manifest.json", "_run.json"} <= {file.rsplit("/", 1)[-1] for file in files}
    found = {file: found_in(runs.secrets, runs.bucket.cat_file(file)) for file in runs.bucket.find(BUCKET)}
    assert not {file: names for file, names in found.items() if names}


def test_no_local_file_holds_a_secret(runs):
    """Among them the logs of Ray's processes and of all workers, and what it keeps of the runtime environment."""
    logs = [path.name for path in runs.directory.glob("*/ray/session_*/logs/*")]
    assert {"raylet.out", "gcs_server.out", "runtime_env_agent.log"} <= set(logs)
    assert not files_with_secrets(runs.secrets, runs.directory)


def test_no_command_line_holds_a_secret(runs):
    assert any("raylet" in line for line in runs.command_lines)
    assert not found_in(runs.secrets, "\n".join(runs.command_lines).encode())


@pytest.mark.parametrize("name", ["a.parquet", "a.txt"])
def test_a_secret_that_is_there_is_found(tmp_path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"reason": ["fine", f"refused: {PASSWORD}"]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "a.txt").write_text(f"refused: {PASSWORD}")
    assert files_with_secrets({"it": PASSWORD}, tmp_path)[name] == {"it"}
