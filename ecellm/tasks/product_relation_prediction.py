"""Product Relation Prediction: are two products bought together, viewed together, or similar?"""

from json.encoder import encode_basestring_ascii  # json.dumps of a text, without its overhead

import pyarrow as pa
import pyarrow.compute as pc

from ecellm.tasks.option_letters import LetterTask

LETTERS = "ABC"
# In the order of the letters.
RELATIONS = ("also_buy", "also_view", "similar_item")

TASK = LetterTask(
    name="Product_Relation_Prediction",
    short_name="PRP",
    description="How do two products relate: also bought, also viewed, similar? (A to C)",
    headline_metric="f1",
    aliases=("Product_Relation_Predicition",),
    answers_with_letter=True,
    max_answer_tokens=16,
)


def pair_inputs(first: pa.Array, second: pa.Array) -> pa.Array:
    """Return the inputs of pairs of raw titles, sorted by the caller: `{"Product 1:": ..., "Product 2:": ...}`.

    As json.dumps writes them; each title is written once, however many pairs it is in.
    """
    parts = ['{"Product 1:": ', _json_texts(first), ', "Product 2:": ', _json_texts(second), "}"]
    return pc.binary_join_element_wise(*parts, "")


def _json_texts(titles: pa.Array) -> pa.Array:
    encoded = pc.dictionary_encode(titles)
    return pa.array(map(encode_basestring_ascii, encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)
