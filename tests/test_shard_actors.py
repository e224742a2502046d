"""Shards on actors: what ends the job, and how."""

import os
import time

import pytest
import ray

from ecellm.errors import InputError
from ecellm.shards import WorkerLostError, run_shards_on_actors

pytestmark = pytest.mark.usefixtures("local_ray")


def test_a_shard_that_kills_its_actor_is_left_and_the_others_are_done(tmp_path):
    log = tmp_path / "starts"

    class Deadly:
        def __init__(self):
            with log.open("a") as file:
                file.write("start\n")

        def __call__(self, shard):
            if shard["number"] == 1:
                os._exit(1)
            return shard

    done = set()
    with pytest.raises(WorkerLostError, match="1 of 4 parts were lost with the actors that had them"):
        for result in run_shards_on_actors(shards(4), Deadly, constructor_args={}, num_actors=1):
            done.add(result["number"])
    assert done == {0, 2, 3}
    assert len(log.read_text().splitlines()) == 2, "the model is not loaded again and again"


def shards(number):
    return [{"number": place} for place in range(number)]


def test_actors_that_died_of_their_last_shard_leave_no_room_taken():
    """Each is restarted when all is over; as many rounds as there are CPUs would otherwise end in waiting for ever."""

    class Deadly:
        def __call__(self, shard):
            os._exit(1)

    free = ray.available_resources()["CPU"]
    for _ in range(2):
        with pytest.raises(WorkerLostError, match="1 of 1 parts were lost"):
            list(run_shards_on_actors(shards(1), Deadly, constructor_args={}, num_actors=1))
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < free:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.2)


def test_what_an_actor_raises_ends_the_job_with_its_message():
    class Failing:
        def __call__(self, shard):
            raise ZeroDivisionError("by three")

    with pytest.raises(RuntimeError, match="ZeroDivisionError: by three"):
        list(run_shards_on_actors(shards(2), Failing, constructor_args={}, num_actors=1))


def test_what_the_user_must_mend_is_told_as_it_is():
    class Refusing:
        def __init__(self, reason):
            raise InputError(reason)

    with pytest.raises(InputError, match=r"^set the key$"):
        list(run_shards_on_actors([{}, {}], Refusing, constructor_args={"reason": "set the key"}, num_actors=1))
