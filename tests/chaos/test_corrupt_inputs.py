"""Damaged Parquet: every reader names the file, and nothing wrong gets through where a checksum or manifest tells."""

import shutil

import pyarrow as pa
import pytest

from ecellm.command_line import main
from ecellm.errors import DamagedFileError
from ecellm.stages import load_stage
from ecellm.storage import Storage
from tests.chaos.faults_chain import READERS, last_line, words_of
from tests.chaos.faults_damage import cut_off, flip_any_bit, flip_bit, forget_who_made, list_again

NUM_ROWS = 2000


@pytest.fixture
def table_file(tmp_path):
    path = tmp_path / "table.parquet"
    table = pa.table({"id": [f"{n:032x}" for n in range(NUM_ROWS)], "text": [f"lamp {n}" for n in range(NUM_ROWS)]})
    Storage().write_table(str(path), table, row_group_size=500)
    return path


def readers(storage, path):
    """Return all ways in which the suite reads a Parquet file."""

    def with_file(read):
        with storage.parquet_file(path) as file:
            return read(file)

    return [
        lambda: storage.read_table(path),
        lambda: pa.concat_tables(with_file(lambda file: [file.read_row_group(group) for group in range(4)])),
        lambda: with_file(lambda file: file.read_row_groups(list(range(4)))),
        lambda: pa.Table.from_batches(with_file(lambda file: list(file.iter_batches()))),
    ]


def test_no_flipped_bit_gets_through_any_reader(table_file):
    storage, written, whole = Storage(), table_file.read_bytes(), Storage().read_table(str(table_file))
    num_refused = 0
    for seed in range(20):
        table_file.write_bytes(written)
        flip_any_bit(table_file, seed)
        for read in readers(storage, str(table_file)):
            try:
                assert read() == whole, "a bit of a page's header that changes nothing"
            except DamagedFileError as error:
                assert str(error).startswith(f"{table_file} is not a readable Parquet file: ")
                num_refused += 1
    assert num_refused >= 17 * 4


def test_a_file_that_is_cut_off_anywhere_is_named(table_file):
    data = table_file.read_bytes()
    for length in (0, 3, 100, len(data) // 2, len(data) - 1):
        table_file.write_bytes(data[:length])
        with pytest.raises(DamagedFileError, match=r"table\.parquet is not a readable Parquet file"):
            Storage().read_table(str(table_file))


@pytest.fixture
def run(chain, tmp_path, capsys):
    """Give a function: damage a copy of what a job reads, run the job, return exit code and last line.

    The damage is done by a function of the copy and of the files in it that the job reads.
    """

    def run_damaged(job, damage):
        field, made_by, files = READERS[job]
        copy = tmp_path / "copy"
        shutil.copytree(chain / made_by, copy)
        damage(copy, sorted(copy.glob(files)))
        words = [word for word in words_of(job, chain, tmp_path / "out") if not word.startswith(f"{field}=")]
        code = main(load_stage(job), [*words, f"{field}={copy}"])
        return code, last_line(capsys.readouterr().out)

    return run_damaged


@pytest.mark.parametrize("job", READERS)
@pytest.mark.parametrize("fault", [flip_bit, cut_off])
def test_a_damaged_file_of_foreign_data_is_refused_by_name(run, tmp_path, job, fault):
    def damage(copy, files):
        forget_who_made(copy)
        fault(files[-1])

    code, line = run(job, damage)
    assert code == 2
    assert line.startswith(f"ecellm: exit=2 reason={tmp_path}/copy/data/"), line
    assert "is not a readable Parquet file" in line
    assert not (tmp_path / "out" / "_manifest.json").exists()


@pytest.mark.parametrize("job", READERS)
def test_a_file_that_differs_from_its_manifest_is_refused_before_any_work(run, tmp_path, job):
    code, line = run(job, lambda _copy, files: cut_off(files[0]))
    assert (code, "bytes, not" in line) == (2, True), line
    assert not (tmp_path / "out").exists()


def test_other_bytes_of_the_same_size_a_missing_file_and_one_too_many_are_refused(run, tmp_path):
    def swap(copy, files):
        first, second = files[:2]
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
        list_again(copy)

    def add(_copy, files):
        shutil.copy(files[0], files[0].with_name("part-00099.parquet"))

    for damage, words in (
        (swap, "has other bytes"),
        (lambda _copy, files: files[0].unlink(), "is missing"),
        (add, "part-00099.parquet has come since"),
    ):
        code, line = run("evaluate", damage)
        assert (code, words in line) == (2, True), line
        assert "predictions_dirs.0 is not what" in line
        assert not (tmp_path / "out").exists()
        shutil.rmtree(tmp_path / "copy")
