"""Which wording an example gets, and which catalogues of instructions are taken."""

import json
from collections import Counter

import numpy as np
import pytest

from ecellm.dataset.hashing import spread
from ecellm.dataset.instructions import Instructions, read_catalogue
from ecellm.errors import InputError
from ecellm.settings import SETTINGS
from ecellm.storage import Storage

WORDINGS = Instructions(("seed", "one", "two", "three", "four"), "unseen")


def test_the_wording_of_an_example_follows_from_seed_and_content():
    words = spread(np.arange(5000, dtype=np.uint64))
    single, diverse, unseen, shot = (
        WORDINGS.indices(SETTINGS[f"IND_{name}"], words, 1)
        for name in (
            "Single_Instruction",
            "Diverse_Instruction",
            "Unseen_Instruction",
            "Diverse_Instruction_1-shot",
        )
    )
    assert set(single) == {0}
    assert set(unseen) == {5}
    assert (shot == diverse).all()
    assert (WORDINGS.indices(SETTINGS["IND_Diverse_Instruction"], words[1000:1100], 1) == diverse[1000:1100]).all()
    assert (WORDINGS.indices(SETTINGS["IND_Diverse_Instruction"], words, 2) != diverse).mean() > 0.7
    counts = Counter(diverse.tolist())
    assert set(counts) == set(range(5))
    assert all(abs(count - 1000) < 5 * (5000 * 0.2 * 0.8) ** 0.5 for count in counts.values())
    assert WORDINGS.wordings[5] == "unseen"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("text", "PM must be an object"),
        ({"seed": "a", "diverse": ["b"]}, "PM needs the texts 'seed' and 'unseen'"),
        ({"seed": "a", "diverse": "b", "unseen": "c"}, "the list 'diverse'"),
        ({"seed": "a", "diverse": [1], "unseen": "c"}, "'diverse' must hold texts"),
        ({"seed": "a", "diverse": ["b", "b"], "unseen": "c"}, "'diverse' has this text twice: 'b'"),
        ({"seed": "a", "diverse": ["b", "c"], "unseen": "c"}, "must not be among the diverse ones"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_place(tmp_path, entry, message):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"tasks": {"PM": entry}}))
    with pytest.raises(InputError, match=message) as caught:
        read_catalogue(Storage(), str(path))
    assert str(path) in str(caught.value)


def test_the_seed_stands_first_and_once(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"tasks": {"PM": {"seed": "a", "diverse": ["b", "a"], "unseen": "c"}}}))
    assert read_catalogue(Storage(), str(path)) == {"PM": Instructions(("a", "b"), "c")}
