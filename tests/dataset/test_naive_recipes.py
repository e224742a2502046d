"""The oracle itself, on hand-made raw files whose examples are written out here by hand."""

import gzip
import json
from collections import Counter

import pandas as pd
import pytest

from tests.dataset.naive_recipes import examples, label_subsets, ranking_output
from tests.dataset.naive_sequences import Item, cleaned, cut_words, faults_of_sequence_sample, ordinal, sequence_input

CATEGORIES = {"in_domain": ["Toys"], "out_of_domain": ["Tools"]}
PRP_OPTIONS = (
    '["A: Users who buy product 1 may also buy product 2.", "B: Users who view product 1 may also view product 2.", '
    '"C: The product 1 is similar with the product 2."]'
)
TEN_WORDS = "one two three four five six seven eight nine ten"


def write_lines(path, lines):
    """Write text lines, gzipped where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_meta(raw_dir, category, products):
    write_lines(raw_dir / f"amazon_review_2018/meta/meta_{category}.json.gz", map(json.dumps, products))


def short(rows):
    return [(row["domain"], row["category"], row["input"], row["options"], row["output"]) for row in rows]


def test_relations_are_read_from_the_last_line_of_an_asin_and_kept_in_one_relation_only(tmp_path):
    toys = [
        {"asin": "B000000001", "title": "old title", "also_buy": ["B000000004"], "also_view": [], "similar_item": ""},
        {"asin": "B000000002", "title": 'Ball "red"', "also_view": ["B000000003", "B000000001"], "similar_item": ""},
        {"asin": "B000000003", "title": "Cart", "also_buy": ["B000000002", "B00MISSING"]},
        {"asin": "B000000004", "title": "", "also_buy": ["B000000001"]},
        {"asin": "B000000005", "also_buy": ["B000000001"]},
        {"asin": "B000000006", "title": "Apple &amp; pear", "similar_item": '<a data-asin="B0" asin=B000000001 asin='},
        {"asin": "B000000007", "title": "Apple &amp; pear", "also_buy": ["B000000006", "B000000007"]},
        {"asin": "B000000008", "title": "Doll", "similar_item": "xB000000003 was first"},
        {"asin": "B000000001", "title": "Bear", "also_buy": ["B000000003", "B000000004", "B000000005"]},
    ]
    write_meta(tmp_path, "Toys", toys)
    write_meta(
        tmp_path,
        "Tools",
        [{"asin": "T1", "title": "Saw", "also_buy": ["T2"]}, {"asin": "T2", "title": "Axe", "also_view": ["T9"]}],
    )
    # Ball/Cart is both viewed and bought; the old title, empty titles and the same title give nothing.
    assert sorted(short(examples("PRP", tmp_path, CATEGORIES)["all"])) == sorted(
        [
            ("IND", "Toys", '{"Product 1:": "Bear", "Product 2:": "Cart"}', PRP_OPTIONS, "A"),
            ("IND", "Toys", '{"Product 1:": "Ball \\"red\\"", "Product 2:": "Bear"}', PRP_OPTIONS, "B"),
            ("IND", "Toys", '{"Product 1:": "Apple &amp; pear", "Product 2:": "Bear"}', PRP_OPTIONS, "C"),
            ("IND", "Toys", '{"Product 1:": "Cart", "Product 2:": "Doll"}', PRP_OPTIONS, "C"),
            ("OOD", "Tools", '{"Product 1:": "Axe", "Product 2:": "Saw"}', PRP_OPTIONS, "A"),
        ]
    )


def test_reviews_need_text_stars_and_ten_words(tmp_path):
    toys = [
        {"reviewText": TEN_WORDS, "overall": 5.0},
        {"reviewText": "one two three four five six seven eight nine", "overall": 5.0},
        {"reviewText": "two spaces  count six seven eight nine ten é", "overall": 1.0},
        {"overall": 3.0},
        {"reviewText": TEN_WORDS},
        {"reviewText": f'{TEN_WORDS}\n"x"', "overall": 2.0},
    ]
    ids = {"asin": "B1", "reviewerID": "U1"}
    write_lines(
        tmp_path / "amazon_review_2018/review/Toys_5.json.gz", [json.dumps({**ids, **review}) for review in toys]
    )
    write_lines(
        tmp_path / "amazon_review_2018/review/Tools.json.gz",
        [json.dumps({**ids, "reviewText": f"x {TEN_WORDS}", "overall": 4.0})],
    )
    options = '["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"]'
    assert short(examples("SA", tmp_path, CATEGORIES)["all"]) == [
        ("IND", "Toys", TEN_WORDS, options, "A: very positive"),
        ("IND", "Toys", "two spaces  count six seven eight nine ten é", options, "E: very negative"),
        ("IND", "Toys", f'{TEN_WORDS}\n"x"', options, "D: negative"),
        ("OOD", "Tools", f"x {TEN_WORDS}", options, "B: positive"),
    ]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, ""),
        ("", ""),
        ("x" * 2_000, ""),
        ("x" * 1_999, "x" * 1_999 + "."),
        ("..Ball.", "Ball."),
        ('12" ruler\nin <b>wood</b> &amp; steel', "12 rulerin wood & steel."),
        ("&quot;Bear&quot;", '"Bear".'),
        ("<br>", "."),
    ],
)
def test_strings_of_an_item_are_cleaned(raw, text):
    assert cleaned(raw) == text


def write_shop_of_five(raw_dir):
    """Five users who each bought five items, and one user and one item that the 5-core drops one after the other."""
    products = [
        {"asin": "I1", "title": "Bear", "category": ["Toys", "Soft &amp; warm", "Third"], "brand": "Acme"},
        {"asin": "I2", "title": "", "category": [], "brand": "Acme"},
        {"asin": "I3", "title": "wrong", "category": ["Toys"], "brand": "wrong"},
        {"asin": "I3", "title": "Cart", "category": ["Toys"], "brand": ""},
        {"asin": "I4", "title": "<br>", "category": ["Toys", "Rope"], "brand": "Bo."},
        {"asin": "I5", "title": "Doll", "category": ["Toys", "Dolls"]},
        {"asin": "I6", "title": "Seldom", "category": ["Toys"], "brand": "Acme"},
    ]
    write_meta(raw_dir, "Toys", products)
    older = [
        {"asin": "I2", "title": "Old"},
        {"asin": "I2", "title": "It's old", "brand": "None", "categories": [["x"]]},
    ]
    write_lines(raw_dir / "amazon_review_2014/meta/meta_Toys.json.gz", map(repr, older))
    ratings = [f"I{item},U{user},5.0,{100 - item}" for user in range(1, 6) for item in range(1, 6)]
    ratings += [f"I{item},U6,5.0,{item}" for item in (1, 2, 3, 4, 6)]  # I6 falls, then U6
    ratings += ["NOMETA,U1,5.0,1"] * 2 + [f"NOMETA,U{user},5.0,1" for user in range(2, 6)]
    ratings += ["I1,U1,5.0,99"]  # an exact duplicate
    ratings += ["I2,U2,1.0,7", "I1,U2,1.0,7"]  # a tie, and bought again
    write_lines(raw_dir / "amazon_review_2018/rating/Toys.csv", ratings)


def test_purchases_after_the_five_core_in_time(tmp_path):
    write_shop_of_five(tmp_path)
    read = examples("SR", tmp_path, {"in_domain": ["Toys"], "out_of_domain": []})
    texts = {
        "I1": "Bear. Toys. Soft & warm. Acme.",
        "I2": "It's old.  Acme.",
        "I3": "Cart. Toys. ",
        "I4": ". Toys. Rope. Bo.",
        "I5": "Doll. Toys. Dolls. ",
    }
    latest_first = [Item(asin, texts[asin]) for asin in ("I5", "I4", "I3", "I2", "I1")]
    again = [Item("I2", texts["I2"]), Item("I1", texts["I1"])]
    assert read["sequences"] == {
        ("IND", "Toys", f"U{user}"): (again + latest_first if user == 2 else latest_first) for user in range(1, 6)
    }
    assert read["pools"] == {"IND": set(texts.values())}


def test_only_the_first_fifty_purchases_count(tmp_path):
    write_meta(tmp_path, "Toys", [{"asin": "I1", "title": "Bear", "category": ["Toys"], "brand": "Acme"}])
    write_lines(tmp_path / "amazon_review_2018/rating/Toys.csv", [f"I1,U1,5.0,{time}" for time in range(60)])
    read = examples("SR", tmp_path, {"in_domain": ["Toys"], "out_of_domain": []})
    assert [len(items) for items in read["sequences"].values()] == [50]


def test_the_check_of_a_sequence_sample_finds_what_is_wrong():
    items = [Item(str(number), f"item {number}.") for number in range(6)]
    pool = {item.text for item in items} | {f"other {number}." for number in range(30)}
    assert sequence_input(items, "train") == "['1st: item 0.', '2nd: item 1.', '3rd: item 2.']"
    candidates = [f"other {number}." for number in range(19)]
    lettered = [
        f"{letter}: {text}" for letter, text in zip("ABCDEFGHIJKLMNOPQRST", ["item 4.", *candidates], strict=True)
    ]
    text = sequence_input(items, "val")
    assert faults_of_sequence_sample(items, pool, "val", text, repr(lettered), "A") == []
    assert faults_of_sequence_sample(items, pool, "val", text, repr(lettered), "B")
    assert faults_of_sequence_sample(items, pool, "test", text, repr(lettered), "A")
    assert faults_of_sequence_sample(items, pool, "val", text, repr(lettered[:-1]), "A")
    of_the_last_three = [*lettered[:-1], "T: item 5."]
    assert faults_of_sequence_sample(items, pool, "val", text, repr(of_the_last_three), "A")
    repeated = [*lettered[:-1], "T: other 0."]
    assert faults_of_sequence_sample(items, pool, "val", text, repr(repeated), "A")


def test_texts_are_cut_at_single_spaces():
    assert cut_words("a.  b c", 4) == "a.  b c"  # the empty word counts
    assert cut_words("..a b. c", 2) == "a b..."
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 32, 43)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "32nd", "43rd"]
    )


@pytest.fixture
def esci_dir(tmp_path):
    """A few queries with products of two locales."""
    folder = tmp_path / "shopping_queries"
    folder.mkdir()
    asked = [
        ("red ball", 1, "P1", "us", "E", 1, "train"),
        ("red ball", 1, "P2", "us", "S", 1, "train"),
        ("red ball", 1, "P3", "us", "S", 1, "train"),
        ("red ball", 1, "P4", "us", "I", 0, "train"),
        ("balón", 2, "P1", "es", "E", 1, "train"),
        ("café", 3, "P4", "us", "C", 1, "test"),
        ("café", 3, "GONE", "us", "E", 1, "test"),
    ]
    columns = ["query", "query_id", "product_id", "product_locale", "esci_label", "small_version", "split"]
    pd.DataFrame(asked, columns=columns).to_parquet(folder / "shopping_queries_dataset_examples.parquet")
    products = [
        ("P1", "Ball<br>red\tone", "us"),
        ("P1", "Balón", "es"),
        ("P2", "Bällchen </p>two", "us"),
        ("P3", "Ball\u00a0three", "us"),
        ("P4", None, "us"),
    ]
    pd.DataFrame(products, columns=["product_id", "product_title", "product_locale"]).to_parquet(
        folder / "shopping_queries_dataset_products.parquet"
    )
    return tmp_path


def test_us_examples_are_classified(esci_dir):
    read = examples("MPC", esci_dir, {})
    assert [(row["input"], row["output"][:2]) for row in read["train"]] == [
        ('{"query": "red ball", "product title": "Ball red one"}', "A:"),
        ('{"query": "red ball", "product title": "Ballchen  two"}', "B:"),
        ('{"query": "red ball", "product title": "Ball three"}', "B:"),
        ('{"query": "red ball", "product title": ""}', "D:"),
    ]
    assert [(row["input"], row["output"]) for row in read["test"]] == [
        ('{"query": "cafe", "product title": ""}', json.loads(read["test"][0]["options"])[2])
    ]
    assert read["test"][0]["output"].startswith("C: The product does not fulfill the query, but could be used in")
    english_only = examples("MPC", esci_dir, {}, is_english=str.isascii)
    assert (len(english_only["train"]), len(english_only["test"])) == (2, 0)  # not P2, P3; nor the query café


def test_substitutes_are_yes(esci_dir):
    read = examples("PSI", esci_dir, {})
    assert [(row["input"], row["options"], row["output"]) for row in read["train"]][:2] == [
        ('{"query": "red ball", "product": "Ball red one"}', None, "no"),
        ('{"query": "red ball", "product": "Ballchen  two"}', None, "yes"),
    ]


def test_ranking_takes_the_small_version(esci_dir):
    assert examples("QPR", esci_dir, {}) == {
        "train": {"red ball": {"E": {"Ball red one"}, "S": {"Ballchen  two", "Ball three"}}},
        "test": {"cafe": {"C": {""}}},
    }
    assert label_subsets({"E", "S", "I"}) == {frozenset(labels) for labels in ("ES", "EI", "SI", "ESI")}
    assert len(label_subsets(set("ESCI"))) == 11
    assert ranking_output(["I", "E", "S"]) == "B,C,A"


def test_questions(tmp_path):
    def question(number, **changes):
        answers = [
            {"answerText": "first", "helpful": [2, 3]},
            {"answerText": "equal", "helpful": [2, 2]},
            {"answerText": "none", "helpful": [0, 9]},
        ]
        return {
            "asin": "B1",
            "category": "Toys",
            "questionText": "é?",
            "questionType": "descriptive",
            "review_snippets": ["a", "b"],
            "answers": answers,
            "is_answerable": 1,
            "qid": number,
            **changes,
        }

    asked = [
        question(1),
        question(2, is_answerable=0),
        question(3, questionType="yes/no"),
        question(4, answers=[{"answerText": "none", "helpful": [0, 5]}]),
        question(5, category="Books"),
        question(6, category="Tools"),
    ]
    write_lines(tmp_path / "amazon_qa/train-qar.jsonl", map(json.dumps, asked))
    write_lines(tmp_path / "amazon_qa/val-qar.jsonl", [])
    write_lines(tmp_path / "amazon_qa/test-qar.jsonl", [json.dumps(question(7))])
    text = '{"question": "\\u00e9?", "document": ["a", "b"]}'
    answerable = examples("AP", tmp_path, CATEGORIES)
    assert short(answerable["train"]) == [
        ("IND", "Toys", text, None, "yes"),
        ("IND", "Toys", text, None, "no"),
        ("IND", "Toys", text, None, "yes"),
        ("IND", "Toys", text, None, "yes"),
        ("OOD", "Tools", text, None, "yes"),
    ]
    assert [row["source_ids"] for row in answerable["test"]] == [["B1", "7"]]
    generated = examples("AG", tmp_path, CATEGORIES)
    assert short(generated["train"]) == [("IND", "Toys", text, None, "first"), ("OOD", "Tools", text, None, "first")]
    assert {split: len(rows) for split, rows in generated.items()} == {"train": 2, "val": 0, "test": 1}


@pytest.mark.parametrize("names_the_split", [False, True])
def test_extractions(tmp_path, names_the_split):
    paragraphs = [
        {"text": "Red Ball", "source": "title"},
        {"text": "soft", "source": "feature"},
        {"text": "big Ball", "source": "title"},
    ]
    evidences = [
        {"value": "Red", "pid": 0, "begin": 0, "end": 3},
        {"value": "red", "pid": 0, "begin": 0, "end": 3},
        {"value": "soft", "pid": 1, "begin": 0, "end": 4},
        {"value": "red", "pid": 2, "begin": 0, "end": 3},
    ]
    attributes = [{"key": "Color", "evidences": evidences}, {"key": "Size", "evidences": []}]
    positive = {"id": "B1", "category": "Toys", "paragraphs": paragraphs, "attributes": attributes}
    negative = {**positive, "id": "B2", "paragraphs": paragraphs[1:2], "attributes": attributes[1:]}
    for split in ("train", "val", "test") if names_the_split else ("mave",):
        write_lines(tmp_path / f"mave/{split}_positives.jsonl", [json.dumps(positive)])
        write_lines(tmp_path / f"mave/{split}_negatives.jsonl", [json.dumps(negative)])
    read = examples("AVE", tmp_path, {})
    assert list(read) == (["train", "val", "test"] if names_the_split else ["all"])
    for rows in read.values():
        assert [(row["input"], row["output"], row["first_attribute"]) for row in rows] == [
            (
                (
                    '{"product title": "Red Ball, big Ball", "product feature": "soft", '
                    '"target attributes": "Color and Size"}'
                ),
                (
                    '[{"attribute": "color", "value": "red", "source": "product title"}, '
                    '{"attribute": "color", "value": "soft", "source": "product feature"}, '
                    '{"attribute": "size", "value": "None", "source": "None"}]'
                ),
                "Color",
            ),
            (
                '{"product feature": "soft", "target attributes": "Size"}',
                '[{"attribute": "size", "value": "None", "source": "None"}]',
                "Size",
            ),
        ]


def write_listings(raw_dir):
    folder = raw_dir / "amazon_google"
    folder.mkdir()
    header = '"id","title","description","manufacturer","price"\r\n'
    long = " ".join([".a"] + ["w"] * 48 + ["end.", "more"])
    amazon = f'"a0","ball",,"acme",0\r\n"a1","ball",,"acme",0\r\n"a2","bear","{long}",,95\r\n"a3","doll",,"bo",5.5\r\n'
    google = (
        header.replace("title", "name") + '"g0","b\ufffd",,,"1 usd"\r\n"g1","c",,,\r\n"g2","d",,,7\r\n"g3","e",,,8\r\n'
    )
    (folder / "Amazon.csv").write_text(header + amazon, encoding="utf-8", newline="")
    (folder / "GoogleProducts.csv").write_bytes(google.replace("\ufffd", "\xff").encode("latin-1"))
    (folder / "Amzon_GoogleProducts_perfectMapping.csv").write_text(
        '"idAmazon","idGoogleBase"\r\n"a2","g0"\r\n"a0","g1"\r\n"a1","g1"\r\n"a3","g2"\r\n',
        encoding="utf-8",
        newline="",
    )


def test_listings_are_matched(tmp_path):
    write_listings(tmp_path)
    read = examples("PM", tmp_path, {})
    rows = [row for split in read.values() for row in split]
    cut = "a " + "w " * 48 + "end..."
    bear = f'{{"title": "bear", "description": "{cut}", "manufacturer": "nan", "price": "95.0"}}'
    ball = '{"title": "ball", "description": NaN, "manufacturer": "acme", "price": "0.0"}'
    google_0 = '{"title": "b\\ufffd", "description": NaN, "manufacturer": "nan", "price": "1 usd"}'
    google_1 = '{"title": "c", "description": NaN, "manufacturer": "nan", "price": "nan"}'
    doll = '{"title": "doll", "description": NaN, "manufacturer": "bo", "price": "5.5"}'
    google_2 = '{"title": "d", "description": NaN, "manufacturer": "nan", "price": "7"}'
    google_3 = '{"title": "e", "description": NaN, "manufacturer": "nan", "price": "8"}'
    # a0 and a1 render alike: with g1 they are one pair.
    assert {row["input"] for row in rows if row["output"] == "yes"} == {
        f'{{"product 1": {bear}, "product 2": {google_0}}}',
        f'{{"product 1": {ball}, "product 2": {google_1}}}',
        f'{{"product 1": {doll}, "product 2": {google_2}}}',
    }
    # Four rows are shuffled to 3, 2, 0, 1 in both tables: a3-g1, a2-g0 (which is a match: skipped), a0-g3, a1-g2.
    assert {row["input"] for row in rows if row["output"] == "no"} == {
        f'{{"product 1": {doll}, "product 2": {google_1}}}',
        f'{{"product 1": {ball}, "product 2": {google_3}}}',
        f'{{"product 1": {ball}, "product 2": {google_2}}}',
    }
    assert {split: len(found) for split, found in read.items()} == {"train": 4, "val": 1, "test": 1}


def test_real_listings_give_the_released_split(real_data):
    read = examples("PM", real_data, {})
    assert {split: len(rows) for split, rows in read.items()} == {"train": 2_022, "val": 253, "test": 253}
    assert sum(row["output"] == "yes" for row in read["test"]) == 111
    first = json.loads(read["test"][0]["input"])
    assert first["product 1"]["title"] == "weekly reader preparing for kindergarten"
    assert first["product 2"]["title"] == "mcafee inc total protection 2007 3-user"
    assert read["test"][0]["output"] == "no"
    lines = (real_data / "ecinstruct" / "true_inputs.jsonl").read_text(encoding="utf-8").splitlines()
    released = {row["input"] for row in map(json.loads, lines) if row["file"].startswith("Product_Matching")}
    assert len(released) == 200
    assert released <= {row["input"] for rows in read.values() for row in rows}


def test_real_metadata_gives_relations(real_data):
    categories = {"in_domain": ["Gift_Cards"], "out_of_domain": ["Magazine_Subscriptions"]}
    found = Counter((row["domain"], row["output"]) for row in examples("PRP", real_data, categories)["all"])
    assert set(found) == {("IND", "A"), ("IND", "B"), ("OOD", "B")}  # similar_item is empty in these files
