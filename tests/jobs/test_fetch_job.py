"""`python -m jobs.fetch` as users run it, to a real S3 server: killed, run again, run once more, and its dry run."""

import random

import pytest
import yaml

from ecellm.command_line import run_job
from ecellm.config import FetchConfig, StorageConfig
from ecellm.storage import Storage
from jobs.fetch import work
from tests.driver_process import kill_with_its_ray, start_driver, wait_at_work
from tests.upstream_server import Served, running_upstream

CONTENT = random.Random(2).randbytes(1_000_003)
RAW = "s3://fetch-test/raw"


@pytest.fixture
def upstream():
    with running_upstream() as server:
        yield server


@pytest.fixture
def addresses(upstream, tmp_path):
    files = [
        {
            "source": "test", "name": f"data/{name}", "url": f"{upstream.url}/{name}?token=hush", "sha256": None,
            "size": None, "licence": "CC0", "checked": None, "unchecked_since": "2026-11-24",
        }
        for name in ("big.bin", "plain.bin")
    ]  # fmt: skip
    upstream.files["plain.bin"] = Served(CONTENT[:7000], ranges=False)
    path = tmp_path / "addresses.yaml"
    path.write_text(yaml.safe_dump({"files": files}))
    return path


@pytest.fixture
def storage(store, monkeypatch):
    store.log_in(monkeypatch, "fetch-test")
    return Storage(StorageConfig(endpoint_url=store.endpoint_url, max_retries=1))


def start(addresses, endpoint_url, log):
    words = [f"raw_dir={RAW}", "sources=[test]", f"addresses={addresses}", f"storage.endpoint_url={endpoint_url}"]
    return start_driver("fetch", [*words, "chunk_bytes=250000", "max_connections=6"], log)


def test_killed_and_run_again_it_goes_on(upstream, addresses, store, storage, tmp_path):
    upstream.files["big.bin"] = Served(CONTENT, stall_at=1_000_000)
    log = tmp_path / "log"
    process = start(addresses, store.endpoint_url, log)
    parts = f"{RAW}/_fetch/data"
    # Four ranges of the one file and the whole of the other; the last range hangs.
    wait_at_work(process, lambda: sum("part-" in path for path in storage.list_files(parts)) == 5, log)
    kill_with_its_ray(process)
    assert not storage.exists(f"{RAW}/data/big.bin")

    upstream.files["big.bin"].stall_at = None
    upstream.forget()
    again = tmp_path / "again"
    assert start(addresses, store.endpoint_url, again).wait(timeout=120) == 0, again.read_text()
    text = again.read_text()
    assert upstream.ranges_asked("big.bin") == ["bytes=1000000-1000002"]
    assert upstream.ranges_asked("plain.bin") == []
    assert storage.read_bytes(f"{RAW}/data/big.bin") == CONTENT
    assert storage.read_bytes(f"{RAW}/data/plain.bin") == CONTENT[:7000]
    below = [path.removeprefix(f"{RAW}/_fetch/") for path in storage.list_files(f"{RAW}/_fetch")]
    assert below == ["_run.json", "data/big.bin.json", "data/plain.bin.json"]
    assert storage.read_json(f"{RAW}/_fetch/data/big.bin.json")["url"] == f"{upstream.url}/big.bin"
    assert text.splitlines()[-1] == "ecellm: exit=0 reason=done"
    assert "of 1.0 MB" in text
    assert "hush" not in text


@pytest.mark.usefixtures("local_ray")
def test_exit_codes_dry_run_and_help(upstream, addresses, tmp_path, capsys):
    raw = tmp_path / "raw"
    arguments = [f"raw_dir={raw}", f"addresses={addresses}", "backoff_seconds=0"]
    assert run_job("fetch", FetchConfig, work, [*arguments, "--dry-run"]) == 2
    out = capsys.readouterr().out
    assert f"data/plain.bin (test)\n  address: {upstream.url}/plain.bin (unchecked since 2026-11-24)" in out
    assert "1 upstream files cannot be had" in out.splitlines()[-1]
    assert not raw.exists()
    upstream.files["big.bin"] = Served(CONTENT)
    assert run_job("fetch", FetchConfig, work, [*arguments, "--dry-run"]) == 0
    assert not raw.exists()
    assert run_job("fetch", FetchConfig, work, arguments) == 0
    assert (raw / "data" / "big.bin").read_bytes() == CONTENT
    assert run_job("fetch", FetchConfig, work, [*arguments, "--dry-run"]) == 0
    assert "state: already there" in capsys.readouterr().out
    for wrong, told in (
        (["overwrite=true"], "unknown key 'overwrite'"),
        (["output_dir=x"], "unknown key 'output_dir'"),
        (["sources=[nothing]"], "'nothing' is unknown; sources are test"),
    ):
        assert run_job("fetch", FetchConfig, work, [*arguments, *wrong]) == 2
        assert told in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        run_job("fetch", FetchConfig, work, ["--help"])
    assert caught.value.code == 0
    assert "chunk_bytes: " in capsys.readouterr().out
