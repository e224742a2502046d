"""The list of addresses: the one that is shipped, what `sources` mean, and what is refused in a list of one's own."""

import pytest
import yaml

from ecellm.errors import InputError
from ecellm.sources import amazon_google
from ecellm.sources.fetch_addresses import read_addresses, select
from ecellm.storage import Storage
from tests.upstream_server import UpstreamServer, entry

SERVER = UpstreamServer("http://127.0.0.1:9")


def test_the_shipped_list_is_whole():
    entries = read_addresses(Storage(), None)
    assert {e.source for e in entries} == {
        "amazon_google", "amazon_review_2018", "amazon_review_2018_5core", "amazon_review_2014", "shopping_queries",
        "amazon_qa", "mave", "ecinstruct",
    }  # fmt: skip
    for e in entries:
        assert e.licence
        assert e.checked is None
        assert e.unchecked_since is not None
        assert (e.url or "https://").startswith("https://")
    names = {target.name for e in entries for target in e.targets}
    assert {path.removeprefix("/raw/") for path in amazon_google.files("/raw")} <= names
    for category in ("Electronics", "Home_and_Kitchen", "Sports_and_Outdoors", "Tools_and_Home_Improvement"):
        assert f"amazon_review_2018/meta/meta_{category}.json.gz" in names
        assert f"amazon_review_2018/review/{category}.json.gz" in names
        assert f"amazon_review_2018/rating/{category}.csv" in names
        assert f"amazon_review_2014/meta/meta_{category}.json.gz" in names


def test_sources_select_by_source_name_and_directory():
    entries = read_addresses(Storage(), None)
    assert not any(e.optional for e in select(entries, None))
    assert len(select(entries, ["amazon_review_2018/rating"])) == 4
    assert len(select(entries, ["amazon_review_2018"])) == 12
    assert len(select(entries, ["amazon_review_2018_5core"])) == 4
    assert [e.name for e in select(entries, ["dataset.json"])] == ["dataset.json"]
    assert [e.source for e in select(entries, ["amazon_google/Amazon.csv"])] == ["amazon_google"]
    with pytest.raises(InputError, match="'amazon_goggle' is unknown; sources are amazon_google, "):
        select(entries, ["amazon_goggle"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "../x"}, "must be a relative path"),
        ({"name": "_fetch/x"}, "must be a relative path"),
        ({"name": "/etc/x"}, "must be a relative path"),
        ({"url": "file:///etc/passwd"}, "must look like https://host/path"),
        ({"url": "s3://bucket/x"}, "must look like https://host/path"),
        ({"url": None}, "needs a note"),
        ({"licence": ""}, "licence"),
        ({"unchecked_since": None}, "give checked"),
        ({"sha256": "abc"}, "sha256"),
        ({"sha1": "abc"}, "unknown key"),
    ],
)
def test_wrong_entries_are_told(tmp_path, change, told):
    path = tmp_path / "addresses.yaml"
    path.write_text(yaml.safe_dump({"files": [{**entry(SERVER), **change}]}))
    with pytest.raises(InputError, match=told):
        read_addresses(Storage(), str(path))


def test_two_files_of_one_name_are_refused(tmp_path):
    path = tmp_path / "addresses.yaml"
    for names, told in ((("a", "a"), "a is there twice"), (("a", "a/b"), "a is a file and the directory of a/b")):
        path.write_text(yaml.safe_dump({"files": [entry(SERVER, name) for name in names]}))
        with pytest.raises(InputError, match=told):
            read_addresses(Storage(), str(path))
