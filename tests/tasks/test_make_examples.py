"""Examples from raw values, task by task: the texts of inputs, options and answers, character by character."""

import ast
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from ecellm.tasks import (
    answer_generation,
    answerability_prediction,
    attribute_value_extraction,
    multiclass_product_classification,
    product_substitute_identification,
    query_product_ranking,
)
from ecellm.tasks.answer_generation import most_helpful
from ecellm.tasks.product_matching import render_product
from ecellm.tasks.product_relation_prediction import pair_inputs
from ecellm.tasks.query_product_ranking import label_sets
from ecellm.tasks.sentiment_analysis import OUTPUT_OF_STARS, reason_to_leave_out
from ecellm.tasks.sequential_recommendation import ORDINALS, clean_text, item_text, list_reprs, shortened
from ecellm.tasks.shopping_text import is_english, query_text, title_text
from ecellm.tasks.wire_options import option_list, options_text

ODD_TEXTS = [
    "", "plain", "it's", 'say "hi"', "it's \"both\"", "back\\slash", "ends with \\", "'", "\\'", "naïve café", "日本 😀",
    "tab\there", "line\nbreak", "\x00\x7f", "nbsp\u00a0here", "line\u2028separator", "{braces}: and, commas",
]  # fmt: skip

# ---- Sequential_Recommendation


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (None, ""),
        ("", ""),
        ("Drill", "Drill."),
        ("Drill.", "Drill."),
        ("...Drill...", "Drill."),
        ("Dr. Drill", "Dr. Drill."),
        (".", "."),
        ('5" bit', "5 bit."),
        ("two\r\nlines", "twolines."),
        ("Tools &amp; Home", "Tools & Home."),
        ("Tools & Home", "Tools & Home."),
        ("&quot;quoted&quot;", '"quoted".'),  # quotes go before entities are resolved
        ("it&#39;s &eacute;", "it's é."),
        ("a <b>bold</b> word<br/>", "a bold word."),
        ("<p></p>", "."),
        (" spaces ", " spaces ."),
        ("x" * 1999, "x" * 1999 + "."),
        ("x" * 2000, ""),
        ("it's", "it's."),
    ],
)
def test_one_text_of_an_item_is_cleaned(text, cleaned):
    assert clean_text(text) == cleaned


def test_an_item_is_title_two_levels_and_brand():
    assert item_text("Drill", ["Tools", "Power", "Drills"], "Bo") == "Drill. Tools. Power. Bo."
    assert item_text("Drill", ["Tools"], "Bo") == "Drill. Tools. Bo."
    assert item_text("Drill", [], "Bo") == "Drill.  Bo."
    assert item_text("Drill", ["Tools"], None) == "Drill. Tools. "
    assert item_text(None, [], "") == "  "
    assert item_text("x" * 2000, ["", "Power", "Drills"], "Bo") == "  Power. Bo."
    assert item_text("Drill", ["<b></b>", "&amp;"], "Bo") == "Drill. . &. Bo."


def test_a_text_is_cut_after_25_words():
    words = [f"w{number}" for number in range(30)]
    assert shortened(" ".join(words[:25])) == " ".join(words[:25])
    assert shortened(" ".join(words[:26])) == " ".join(words[:25]) + "..."
    assert shortened(" ".join(words[:24]) + " end. more") == " ".join(words[:24]) + " end..."
    assert shortened("." + " ".join(words)) == " ".join(words[:25]) + "..."
    # The empty word between two spaces is a word; other white space does not part words.
    assert shortened("  " + " ".join(words[:23])) == "  " + " ".join(words[:23])
    assert shortened("  " + " ".join(words[:24])) == "  " + " ".join(words[:23]) + "..."
    assert shortened("\t".join(words)) == "\t".join(words)
    assert shortened("") == ""


def test_ordinals():
    assert ORDINALS[:4] == ("1st", "2nd", "3rd", "4th")
    assert ORDINALS[9:14] == ("10th", "11th", "12th", "13th", "14th")
    assert ORDINALS[20:24] == ("21st", "22nd", "23rd", "24th")
    assert ORDINALS[30:33] == ("31st", "32nd", "33rd")
    assert ORDINALS[-1] == "50th"


def test_lists_are_written_as_python_writes_them():
    lists = [ODD_TEXTS, [], ["one"], ODD_TEXTS[::-1] * 2, [text + "'" + text for text in ODD_TEXTS]]
    labelled = [[f"{ORDINALS[place]}: {text}" for place, text in enumerate(own)] for own in lists]
    written = list_reprs(
        pa.array([ORDINALS[place] for own in lists for place in range(len(own))]),
        pa.array([repr(text) for own in lists for text in own]),
        np.array([len(own) for own in lists]),
    ).to_pylist()
    assert written == [repr(own) for own in labelled]
    assert [ast.literal_eval(text) for text in written] == labelled


# ---- Product_Relation_Prediction, Product_Matching


def test_pairs_are_written_as_json_dumps_writes_them():
    first, second = ODD_TEXTS, ODD_TEXTS[::-1]
    written = pair_inputs(pa.array(first), pa.array(second)).to_pylist()
    assert written == [
        json.dumps({"Product 1:": one, "Product 2:": two}) for one, two in zip(first, second, strict=True)
    ]
    assert pair_inputs(pa.array([], pa.string()), pa.array([], pa.string())).to_pylist() == []


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_listing_is_written_as_json_dumps_writes_it(text):
    product = {"title": text, "description": text, "manufacturer": text, "price": 95.0, "id": "x"}
    expected = {"title": text, "description": text, "manufacturer": text, "price": "95.0"}
    assert render_product(product) == json.dumps(expected)


def test_missing_fields_of_a_listing():
    nan = float("nan")
    text = render_product({"title": "a", "description": nan, "manufacturer": nan, "price": nan})
    assert text == '{"title": "a", "description": NaN, "manufacturer": "nan", "price": "nan"}'


def test_a_long_description_is_cut_after_50_words():
    def described(description):
        own = {"title": "", "description": description, "manufacturer": "", "price": 0.0}
        return json.loads(render_product(own))["description"]

    words = [f"w{number}" for number in range(60)]
    assert described(" ".join(words[:50])) == " ".join(words[:50])
    assert described("..." + " ".join(words[:49]) + " end... and more") == " ".join(words[:49]) + " end..."


# ---- Sentiment_Analysis


@pytest.mark.parametrize(
    ("text", "stars", "reason"),
    [
        (None, 5.0, "without text"),
        ("", 5.0, "without text"),
        ("a b c d e f g h i j", None, "without stars"),
        ("a b c d e f g h i j", 0.0, "stars that are not 1 to 5"),
        ("a b c d e f g h i j", 4.5, "stars that are not 1 to 5"),
        ("a b c d e f g h i j", math.nan, "stars that are not 1 to 5"),
        ("a b c d e f g h i", 5.0, "under ten words"),
        ("a b c d e f g h i\tj", 5.0, "under ten words"),
        ("a b c d e f g h i j", 5.0, None),
        ("a b c d e f g h  i", 1, None),  # the empty word counts
        ("         ", 3.0, None),
    ],
)
def test_which_reviews_give_an_example(text, stars, reason):
    assert reason_to_leave_out(text, stars) == reason


def test_stars_are_options_from_very_positive_to_very_negative():
    assert [OUTPUT_OF_STARS[stars] for stars in (5, 4, 3, 2, 1)] == list(option_list("SA"))
    assert OUTPUT_OF_STARS[5.0] == "A: very positive"
    assert OUTPUT_OF_STARS[1.0] == "E: very negative"


@pytest.mark.parametrize(("name", "letters"), [("PRP", "ABC"), ("SA", "ABCDE"), ("MPC", "ABCD")])
def test_options_are_json_lists_of_lettered_texts(name, letters):
    assert options_text(name) == json.dumps(list(option_list(name)))
    assert [text[:3] for text in option_list(name)] == [f"{letter}: " for letter in letters]


# ---- Shopping Queries


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        (None, ""),
        ("", ""),
        ("plain", "plain"),
        ("a\tb\nc\r\nd", "a b c  d"),
        ("<p>a</p><br>b</br>", " a  b "),
        ("<b>kept</b> <br/>", "<b>kept</b> <br/>"),
        ("café ½ ﬁne™ 😀 日本", "cafe 12 fineTM  "),
        ("nbsp\u00a0here", "nbsp here"),
        ('it\'s "5\\6"', 'it\'s "5\\6"'),
    ],
)
def test_titles(title, shown):
    assert title_text(title) == shown


def test_queries_keep_their_white_space_and_tags():
    assert query_text("café\t<p>\n!") == "cafe\t<p>\n!"


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        (None, True),
        ("", True),
        ("12 €", True),
        ("café mug", True),
        ("日本 mug", True),
        ("日本 a", False),
        ("ножницы", False),
        ("😀 日本", False),
        ("ab日本", True),  # half of the letters
    ],
)
def test_what_counts_as_english(text, is_so):
    assert is_english(text) == is_so


@pytest.mark.parametrize(("label", "letter"), list(zip("ESCI", "ABCD", strict=True)))
def test_judged_products(label, letter):
    ids = ("B1", "query 1")
    example = multiclass_product_classification.make_example("q's", 'a "b"', label, ids)
    assert example.input == '{"query": "q\'s", "product title": "a \\"b\\""}'
    assert example.output == option_list("MPC")["ABCD".index(letter)]
    assert example.options == options_text("MPC")
    example = product_substitute_identification.make_example("q", "t", label, ids)
    assert example.input == '{"query": "q", "product": "t"}'
    assert example.output == ("yes" if label == "S" else "no")
    assert (example.options, example.relevance, example.source_ids) == (None, None, ids)


def test_all_sets_of_two_to_four_labels_each_once():
    assert list(label_sets(["S", "E"])) == [("E", "S")]
    assert list(label_sets("ICE")) == [("E", "C"), ("E", "I"), ("C", "I"), ("E", "C", "I")]
    everything = list(label_sets("ISCE"))
    assert len(everything) == len(set(everything)) == 6 + 4 + 1
    assert everything[-1] == ("E", "S", "C", "I")
    assert list(label_sets("E")) == list(label_sets("")) == []
    assert list(label_sets("EEE")) == []


def test_a_ranking_lists_letters_by_label_and_keeps_the_labels():
    candidates = [("I", "lamp"), ("S", "mug"), ("E", "cup"), ("C", 'tray "x"')]
    example = query_product_ranking.make_example("cups", candidates, ("B1", "B2", "B3", "B4", "query 7"))
    assert example.input == ('{"query": "cups", "product list": ["A: lamp", "B: mug", "C: cup", "D: tray \\"x\\""]}')
    assert example.output == "C,B,D,A"
    assert example.relevance == ("I", "S", "E", "C")
    assert query_product_ranking.make_example("q", candidates[:2], ()).output == "B,A"


# ---- Answerability_Prediction, Answer_Generation


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        ([], None),
        ([("a", 0), ("b", 0)], None),
        ([("a", 0), ("b", 1)], "b"),
        ([("a", 2), ("b", 3), ("c", 3)], "b"),
        ([("a", -1)], None),
        ([("", 4), ("b", 3)], ""),
    ],
)
def test_the_most_helpful_answer(answers, best):
    assert most_helpful(answers) == best


def test_questions_with_their_snippets():
    text = '{"question": "how \\u00e9?", "document": ["one", "it\'s \\"two\\""]}'
    example = answerability_prediction.make_example(
        "how é?", ["one", 'it\'s "two"'], is_answerable=False, source_ids=()
    )
    assert (example.input, example.output, example.options) == (text, "no", None)
    assert answerability_prediction.make_example("q", [], is_answerable=True, source_ids=()).output == "yes"
    example = answer_generation.make_example("how é?", ["one", 'it\'s "two"'], "so é", ("B1", "question 2"))
    assert (example.input, example.output, example.source_ids) == (text, "so é", ("B1", "question 2"))


# ---- Attribute_Value_Extraction


def extraction(paragraphs, attributes):
    example = attribute_value_extraction.make_example(paragraphs, attributes, ("B1",))
    return json.loads(example.input), json.loads(example.output)


def test_paragraphs_of_one_source_are_joined_in_order_of_appearance():
    paragraphs = [
        ("Big Mug", "title"),
        ("Holds 1 L", "description"),
        ("Red", "title"),
        ("It's café-like", "description"),
    ]
    attributes = [("Color", [("RED", 2), ("Red", 2), ("red", 1)]), ("Volume", [("1 L", 1)]), ("Shape", [])]
    fields, found = extraction(paragraphs, attributes)
    assert fields == {
        "product title": "Big Mug, Red",
        "product description": "Holds 1 L, It's café-like",
        "target attributes": "Color and Volume and Shape",
    }
    assert list(fields) == ["product title", "product description", "target attributes"]
    assert found == [
        {"attribute": "color", "value": "red", "source": "product title"},
        {"attribute": "color", "value": "red", "source": "product description"},
        {"attribute": "volume", "value": "1 l", "source": "product description"},
        {"attribute": "shape", "value": "None", "source": "None"},
    ]
    assert all(list(answer) == ["attribute", "value", "source"] for answer in found)


def test_sources_are_lower_cased_in_the_answer_alone_and_texts_are_ascii_json():
    example = attribute_value_extraction.make_example([("É", "Brand")], [("Marke", [("É", 0)])], ("B1",))
    assert example.input == '{"product Brand": "\\u00c9", "target attributes": "Marke"}'
    assert example.output == '[{"attribute": "marke", "value": "\\u00e9", "source": "product brand"}]'


def test_without_attributes_or_paragraphs():
    assert extraction([], [("Color", [])]) == (
        {"target attributes": "Color"},
        [{"attribute": "color", "value": "None", "source": "None"}],
    )
    assert extraction([("a", "title")], []) == ({"product title": "a", "target attributes": ""}, [])
