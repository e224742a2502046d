"""Shards on actors: what ends the job, and how."""

import os

import pytest

from ecellm.errors import InputError
from ecellm.shards import run_shards_on_actors

pytestmark = pytest.mark.usefixtures("local_ray")


def test_a_shard_that_kills_its_actor_again_and_again_ends_the_job(tmp_path):
    log = tmp_path / "starts"

    class Deadly:
        def __init__(self):
            with log.open("a") as file:
                file.write("start\n")

        def __call__(self, shard):
            if shard["number"] == 1:
                os._exit(1)
            return shard

    with pytest.raises(Exception, match="actor"):
        list(run_shards_on_actors([{"number": 0}, {"number": 1}], Deadly, constructor_args={}, num_actors=1))
    assert 2 <= len(log.read_text().splitlines()) <= 5


def test_what_the_user_must_mend_is_told_as_it_is():
    class Refusing:
        def __init__(self, reason):
            raise InputError(reason)

    with pytest.raises(InputError, match=r"^set the key$"):
        list(run_shards_on_actors([{}, {}], Refusing, constructor_args={"reason": "set the key"}, num_actors=1))
