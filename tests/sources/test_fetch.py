"""Whole fetches from a server that cuts, changes files and lies: what is there afterwards, and what was asked."""

import io
import json
import random
import zipfile
from hashlib import sha256

import pytest
import yaml

from ecellm.config import FetchConfig
from ecellm.errors import InputError, OutputHeldError
from ecellm.manifest import RunDirectory
from ecellm.sources import amazon_google
from ecellm.sources.fetch import dry_run, fetch
from ecellm.sources.fetch_progress import progress_text
from ecellm.storage import Storage
from tests.upstream_server import Served, entry

CONTENT = random.Random(1).randbytes(1_000_003)
CHUNK = 250_000


def config_for(tmp_path, entries, **more):
    addresses = tmp_path / "addresses.yaml"
    addresses.write_text(yaml.safe_dump({"files": entries}))
    defaults = {"raw_dir": str(tmp_path / "raw"), "chunk_bytes": CHUNK, "backoff_seconds": 0.001, "timeout_seconds": 10}
    return FetchConfig(**{**defaults, "addresses": str(addresses), **more})


def files_below(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.usefixtures("local_ray")
def test_files_come_with_their_record(upstream, tmp_path, caplog):
    caplog.set_level("INFO")
    upstream.files["file.bin"] = Served(CONTENT)
    upstream.files["plain.bin"] = Served(CONTENT[:5000], ranges=False, etag=None)
    upstream.files["empty.bin"] = Served(b"")
    known = {"sha256": sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    entries = [entry(upstream, **known), entry(upstream, "data/plain.bin"), entry(upstream, "empty.bin")]
    raw = tmp_path / "raw"
    (raw / "data").mkdir(parents=True)
    (raw / "data" / "own.txt").write_text("mine")
    fetch(config_for(tmp_path, entries))
    assert (raw / "data" / "file.bin").read_bytes() == CONTENT
    assert (raw / "data" / "plain.bin").read_bytes() == CONTENT[:5000]
    assert (raw / "empty.bin").read_bytes() == b""
    assert (raw / "data" / "own.txt").read_text() == "mine"
    record = json.loads((raw / "_fetch" / "data" / "file.bin.json").read_text())
    assert {key: record[key] for key in known} == known
    assert record["url"] == f"{upstream.url}/file.bin"
    assert record["etag"] == upstream.files["file.bin"].tag()
    assert "T" in record["fetched_at"]
    assert not [name for name in files_below(raw) if "part-" in name or "source.json" in name]
    assert "fetch: 1.0 MB of 1.0 MB" in caplog.text
    upstream.forget()
    fetch(config_for(tmp_path, entries))
    assert upstream.log == []
    assert "data/file.bin: already there" in caplog.text
    (raw / "_fetch" / "data" / "file.bin").mkdir()
    (raw / "_fetch" / "data" / "file.bin" / "source.json").write_text("{}")  # killed before the parts were removed
    fetch(config_for(tmp_path, entries))
    assert upstream.log == []
    assert not [name for name in files_below(raw) if "source.json" in name]


@pytest.mark.usefixtures("local_ray")
def test_ranges_of_a_cutting_server_are_kept(upstream, tmp_path):
    upstream.files["file.bin"] = Served(CONTENT, cut_after=CHUNK - 1, cuts=1)
    config = config_for(tmp_path, [entry(upstream)], max_retries=0, max_connections=5)
    raw = tmp_path / "raw"
    with pytest.raises(
        InputError, match=r"could not be fetched: http://127.0.0.1:\d+/file.bin: .*goes on where it stopped"
    ):
        fetch(config)
    assert len([name for name in files_below(raw / "_fetch") if "part-" in name]) == 4
    assert not (raw / "data").exists() or not files_below(raw / "data")
    upstream.forget()
    fetch(config.model_copy(update={"chunk_bytes": 7 * CHUNK}))  # what was begun keeps its ranges
    assert len(upstream.ranges_asked("file.bin")) == 1
    assert (raw / "data" / "file.bin").read_bytes() == CONTENT
    assert files_below(raw / "_fetch") == ["_run.json", "data/file.bin.json"]


@pytest.mark.usefixtures("local_ray")
def test_a_file_that_changed_between_two_runs_starts_anew(upstream, tmp_path, caplog):
    upstream.files["file.bin"] = Served(CONTENT, cut_after=CHUNK - 1, cuts=1)
    config = config_for(tmp_path, [entry(upstream)], max_retries=0)
    with pytest.raises(InputError):
        fetch(config)
    upstream.files["file.bin"] = Served(CONTENT[::-1])
    fetch(config)
    assert (tmp_path / "raw" / "data" / "file.bin").read_bytes() == CONTENT[::-1]
    assert "changed upstream (etag was" in caplog.text


@pytest.mark.usefixtures("local_ray")
def test_what_is_not_as_listed_is_not_published(upstream, tmp_path):
    upstream.files["file.bin"] = Served(CONTENT)
    upstream.files["good.bin"] = Served(CONTENT[:10])
    upstream.files["long.bin"] = Served(CONTENT[:10])
    entries = [
        entry(upstream, sha256="0" * 64),
        entry(upstream, "good.bin"),
        entry(upstream, "long.bin", size=11),
        entry(upstream, "none.bin"),
    ]
    with pytest.raises(InputError, match="3 of 4 upstream files could not be fetched") as caught:
        fetch(config_for(tmp_path, entries))
    message = str(caught.value)
    assert (
        f"data/file.bin: sha256 is {sha256(CONTENT).hexdigest()}, but the list of addresses says {'0' * 64}" in message
    )
    assert "long.bin: size is 10, but the list of addresses says 11" in message
    assert "/none.bin is not there" in message
    assert files_below(tmp_path / "raw") == ["_fetch/_run.json", "_fetch/good.bin.json", "good.bin"]


@pytest.mark.usefixtures("local_ray")
def test_files_of_others_are_left_alone(upstream, tmp_path, caplog):
    caplog.set_level("INFO")
    upstream.files["file.bin"] = Served(CONTENT)
    own = tmp_path / "raw" / "data" / "file.bin"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    fetch(config_for(tmp_path, [entry(upstream)]))
    assert own.read_text() == "mine"
    assert "data/file.bin: there, but not fetched by this job" in caplog.text
    own.unlink()
    fetch(config_for(tmp_path, [entry(upstream)]))
    own.write_text("mine again")
    fetch(config_for(tmp_path, [entry(upstream)]))
    assert own.read_text() == "mine again"


@pytest.mark.usefixtures("local_ray")
def test_two_fetches_do_not_meet(upstream, tmp_path):
    upstream.files["file.bin"] = Served(CONTENT)
    config = config_for(tmp_path, [entry(upstream)])
    identity = {"job": "fetch", "stage_version": 1, "inputs": {}, "config": {}}
    with RunDirectory.claim(Storage(), f"{config.raw_dir}/_fetch", identity, overwrite=False):
        for what in (fetch, dry_run):
            with pytest.raises(OutputHeldError, match="is being written by another run"):
                what(config)
    fetch(config)


def archive_of(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def zip_entry(server, *members):
    listed = [{"member": name, "name": f"amazon_google/{name.rsplit('/', 1)[-1]}", **more} for name, more in members]
    return entry(server, "amazon_google/all.zip", member=listed)


@pytest.mark.usefixtures("local_ray")
def test_members_are_taken_out_of_a_zip(upstream, tmp_path):
    products = b"id,title,description,manufacturer,price\r\n1,\xe9t\xe9,,,\r\n"
    google = products.replace(b"title", b"name")
    mapping = b"idAmazon,idGoogleBase\r\n1,1\r\n"
    files = {"Amazon.csv": products, "x/GoogleProducts.csv": google, "Amzon_GoogleProducts_perfectMapping.csv": mapping}
    upstream.files["all.zip"] = Served(archive_of({**files, "../evil.txt": b"x"}))
    listed = zip_entry(upstream, *((name, {"size": len(content)}) for name, content in files.items()))
    config = config_for(tmp_path, [listed], chunk_bytes=100)
    fetch(config)
    raw = tmp_path / "raw"
    assert files_below(raw / "amazon_google") == sorted(name.rsplit("/", 1)[-1] for name in files)
    assert (raw / "amazon_google" / "Amazon.csv").read_bytes() == products
    assert len(amazon_google.read(Storage(), str(raw)).mapping) == 1
    assert not [name for name in files_below(tmp_path) if "evil" in name or name.endswith(".zip")]
    record = json.loads((raw / "_fetch" / "amazon_google" / "Amazon.csv.json").read_text())
    assert record["sha256"] == sha256(products).hexdigest()
    assert record["archive"]["sha256"] == sha256(upstream.files["all.zip"].content).hexdigest()
    (raw / "amazon_google" / "Amazon.csv").unlink()
    (raw / "amazon_google" / "GoogleProducts.csv").write_text("mine")
    fetch(config)
    assert (raw / "amazon_google" / "Amazon.csv").read_bytes() == products
    assert (raw / "amazon_google" / "GoogleProducts.csv").read_text() == "mine"


@pytest.mark.usefixtures("local_ray")
def test_a_bad_zip_publishes_nothing(upstream, tmp_path):
    cases = [
        (b"no zip at all", {}, "/1.zip is no zip that can be read"),
        (archive_of({"b.csv": b"1"}), {}, "/2.zip has no member 'a.csv', but b.csv"),
        (archive_of({"a.csv": b"0" * 10_000}), {"size": 9_999}, "3.csv: 10,000 bytes in the zip, 9,999 at the most"),
        (archive_of({"a.csv": b"1"}), {"sha256": "0" * 64}, "4.csv: sha256 is"),
    ]
    entries = []
    for number, (content, more, _) in enumerate(cases, 1):
        upstream.files[f"{number}.zip"] = Served(content)
        member = {"member": "a.csv", "name": f"{number}.csv", **more}
        entries.append(entry(upstream, f"{number}.zip", member=[member]))
    with pytest.raises(InputError, match="4 of 4 upstream files could not be fetched") as caught:
        fetch(config_for(tmp_path, entries))
    for _, _, told in cases:
        assert told in str(caught.value)
    assert files_below(tmp_path / "raw") == []


@pytest.mark.usefixtures("local_ray")
def test_a_dry_run_lists_all_and_writes_nothing(upstream, tmp_path):
    upstream.files["file.bin"] = Served(CONTENT)
    without = entry(upstream, "mave/labels.jsonl", url=None, note="make it yourself", source="mave")
    entries = [entry(upstream), entry(upstream, "none.bin"), without]
    lines, problems = dry_run(config_for(tmp_path, entries))
    text = "\n".join(lines)
    assert f"{upstream.url}/file.bin (unchecked since 2026-11-24)" in text
    assert "size: 1.0 MB; licence: CC0" in text
    assert "note: make it yourself" in text
    assert "2 of 3 upstream files to fetch" in text
    assert list(problems) == ["none.bin"]
    assert not (tmp_path / "raw").exists()
    with pytest.raises(InputError, match="nothing to fetch: mave: make it yourself"):
        fetch(config_for(tmp_path, [without]))


def test_progress_says_done_rate_and_time_left():
    assert (
        progress_text(1_000_000_000, 200_000_000, 3_200_000_000, 4.0) == "1.2 GB of 3.2 GB, 50.0 MB/s, about 40 s left"
    )
    assert progress_text(0, 1_500_000, None, 1.0) == "1.5 MB so far, 1.5 MB/s"
