"""An input's manifest may be foreign too: what it lists is looked at before it is relied on."""

import pytest

from ecellm.errors import InputError
from ecellm.finished_files import check_sizes
from ecellm.storage import Storage


@pytest.mark.parametrize(
    "files",
    [
        7,
        {"name": "data/x.parquet"},
        ["data/x.parquet"],
        [{"name": "x", "size": 1}],
        [{"name": 1, "size": 1, "sha256": ""}],
    ],
)
def test_a_list_of_files_that_is_none_is_told(tmp_path, files):
    Storage().write_json(str(tmp_path / "_manifest.json"), {"fingerprint": "f", "files": files})
    with pytest.raises(InputError, match="_manifest.json is damaged: files is no list of names, sizes and sha256"):
        check_sizes(Storage(), "samples_dir", str(tmp_path))


def test_files_that_are_as_listed_are_taken(tmp_path):
    Storage().write_bytes(str(tmp_path / "note"), b"abc")
    listed = [{"name": "note", "size": 3, "sha256": "not looked at here"}]
    Storage().write_json(str(tmp_path / "_manifest.json"), {"fingerprint": "f", "files": listed})
    check_sizes(Storage(), "samples_dir", str(tmp_path))
    listed[0]["size"] = 4
    Storage().write_json(str(tmp_path / "_manifest.json"), {"fingerprint": "f", "files": listed})
    with pytest.raises(InputError, match=r"note has 3 bytes, not 4"):
        check_sizes(Storage(), "samples_dir", str(tmp_path))
