"""Runs that claim one output directory at the same time, however slow the store is to each of them: one wins."""

import random
import signal
import threading
import time

import pytest

from ecellm import manifest
from ecellm.config import StorageConfig
from ecellm.errors import InputError, MissingFileError, OutputHeldError
from ecellm.fingerprint import fingerprint_of
from ecellm.manifest import OutputState, RunDirectory, read_state
from ecellm.storage import Storage

NUM_TWINS = 4
IDENTITY = {"job": "build", "stage_version": 1, "inputs": {}, "config": {"seed": 1}}
OTHER = {**IDENTITY, "config": {"seed": 2}}


class Slow(Storage):
    """Takes its time before every change, another one each time: longer than a run waits to read back its claim."""

    def _dawdle(self):
        time.sleep(random.choice((0.0, 0.01, 0.15)))

    def create_exclusively(self, path, data):
        self._dawdle()
        return super().create_exclusively(path, data)

    def write_bytes(self, path, data):
        self._dawdle()
        super().write_bytes(path, data)


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path, monkeypatch):
    """A storage, a directory or bucket, and how many rounds are run there."""
    monkeypatch.setattr(manifest, "_SETTLE_SECONDS", 0.05)
    if request.param == "local":
        return Slow(), str(tmp_path), 12
    store = request.getfixturevalue("store")
    store.log_in(monkeypatch, "twins-test")
    return Slow(StorageConfig(endpoint_url=store.endpoint_url)), "s3://twins-test", 5


def claim_at_once(storage, out, identities, *, overwrite=False):
    """Claim a directory in as many threads; return the winners' identities and the losers' errors."""
    start, all_have_tried = threading.Barrier(len(identities)), threading.Barrier(len(identities))
    winners, errors = [], []

    def claim(identity):
        start.wait()
        try:
            directory = RunDirectory.claim(storage, out, identity, overwrite=overwrite)
        except (OutputHeldError, InputError) as error:
            errors.append(error)
            all_have_tried.wait()
            return
        with directory:
            winners.append(identity)
            all_have_tried.wait()
            storage.write_bytes(f"{out}/data/of-{identity['config']['seed']}", b"1")

    threads = [threading.Thread(target=claim, args=(identity,)) for identity in identities]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners, errors


def test_of_twins_that_come_at_once_one_wins(place):
    storage, root, rounds = place
    for number in range(rounds):
        out = f"{root}/fresh-{number}"
        for _ in ("a new directory", "one that a run has left unfinished"):
            winners, errors = claim_at_once(storage, out, [IDENTITY] * NUM_TWINS)
            assert winners == [IDENTITY], errors
            assert [type(error) for error in errors] == [OutputHeldError] * (NUM_TWINS - 1)
        assert storage.list_files(out, hidden=True) == [f"{out}/_run.json", f"{out}/data/of-1"]


def test_of_two_configurations_that_come_at_once_one_wins_and_no_file_of_the_other_is_left(place):
    storage, root, rounds = place
    for number in range(rounds):
        out = f"{root}/replaced-{number}"
        claim_at_once(storage, out, [{**IDENTITY, "config": {"seed": 3}}])
        winners, errors = claim_at_once(storage, out, [IDENTITY, OTHER] * 2, overwrite=True)
        assert len(winners) == 1, errors
        assert len(errors) == 3
        assert read_state(storage, out, fingerprint_of(winners[0])) == OutputState.RESUMABLE
        assert storage.list_files(f"{out}/data") == [f"{out}/data/of-{winners[0]['config']['seed']}"]


def test_without_overwrite_the_other_configuration_is_refused(place):
    storage, root, _ = place
    winners, errors = claim_at_once(storage, f"{root}/two", [IDENTITY, OTHER])
    assert len(winners) == 1
    assert isinstance(errors[0], (OutputHeldError, InputError))


def test_a_claim_whose_answer_was_lost_is_known_again(tmp_path):
    class LosesAnswers(Storage):
        """Writes, and is asked again since its first answer did not arrive."""

        def create_exclusively(self, path, data):
            super().create_exclusively(path, data)
            return super().create_exclusively(path, data)

    with RunDirectory.claim(LosesAnswers(), str(tmp_path / "out"), IDENTITY, overwrite=False):
        pass
    with RunDirectory.claim(LosesAnswers(), str(tmp_path / "out"), IDENTITY, overwrite=False):
        pass


def test_a_takeover_that_was_killed_half_way_does_not_close_the_directory(tmp_path, monkeypatch):
    out, storage = str(tmp_path / "out"), Storage()

    class Killed(BaseException):
        pass

    def die(*_arguments):
        raise Killed

    with RunDirectory.claim(storage, out, IDENTITY, overwrite=False):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write_bytes", die)
        patched.setattr(Storage, "remove", lambda *_arguments: None)
        with pytest.raises(Killed):
            RunDirectory.claim(storage, out, IDENTITY, overwrite=False)
    with pytest.raises(OutputHeldError):
        RunDirectory.claim(storage, out, IDENTITY, overwrite=False)
    monkeypatch.setattr(manifest, "_is_dead_here", lambda _owner: True)
    with RunDirectory.claim(storage, out, IDENTITY, overwrite=False):
        pass


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["in the foreground", "in the background"])
def job(request):
    """A job of a shell, or one that a script started with `&`: that one ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("job")
def test_a_run_that_was_taken_over_stops_at_its_next_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "HEARTBEAT_SECONDS", 0.05)
    out, storage = str(tmp_path / "out"), Storage()
    worked_on = False
    with (
        pytest.raises(OutputHeldError, match="was taken by another-host"),
        RunDirectory.claim(storage, out, IDENTITY, overwrite=False),
    ):
        taken = storage.read_json(f"{out}/_run.json") | {"owner": {"id": "x", "host": "another-host", "pid": 1}}
        storage.write_json(f"{out}/_run.json", taken)
        time.sleep(20)
        worked_on = True
    assert not worked_on
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_record_that_comes_while_it_is_looked_for_is_no_broken_one(tmp_path, monkeypatch):
    read_bytes, out = Storage.read_bytes, str(tmp_path / "out")

    def made_just_after(storage, path, *limits):
        monkeypatch.setattr(Storage, "read_bytes", read_bytes)
        storage.write_bytes(path, directory._record())
        raise MissingFileError(path)

    directory = RunDirectory(Storage(), out, IDENTITY)
    monkeypatch.setattr(Storage, "read_bytes", made_just_after)
    with pytest.raises(OutputHeldError, match="is being written by another run"):
        RunDirectory.claim(Storage(), out, IDENTITY, overwrite=False)


def test_a_run_that_comes_between_two_looks_is_no_stranger(tmp_path):
    class Overtaken(Storage):
        """Another run claims the directory just before it is listed."""

        def list_files(self, directory, suffix="", *, hidden=False):
            Storage().write_json(f"{directory}/_run.json", {**IDENTITY, "fingerprint": fingerprint_of(IDENTITY)})
            return super().list_files(directory, suffix, hidden=hidden)

    assert read_state(Overtaken(), str(tmp_path), fingerprint_of(IDENTITY)) == OutputState.RESUMABLE
