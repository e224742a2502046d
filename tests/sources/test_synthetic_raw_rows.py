"""The rows of the made-up raw files: they agree with each other, have upstream's quirks, and labels can be learnt."""

import ast
import gzip
import json
import re
from collections import Counter, defaultdict

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ecellm.sources import amazon_google
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.sources.synthetic_world import BLAME, ESCI, GAPS, GRADED, PRAISE, TOPICS, WISHES
from ecellm.storage import Storage

SIZE = WorldSize(num_reviews=2000)
CATEGORIES = SIZE.categories


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory, local_ray):
    root = tmp_path_factory.mktemp("world")
    write_raw_world(str(root), SIZE)
    return root


def json_lines(path):
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


def metadata_lines(root, category):
    return json_lines(root / "amazon_review_2018" / "meta" / f"meta_{category}.json.gz")


@pytest.fixture(scope="module")
def metadata(raw_dir):
    """Products by category and asin; the last line of an asin wins."""
    return {category: {row["asin"]: row for row in metadata_lines(raw_dir, category)} for category in CATEGORIES}


@pytest.fixture(scope="module")
def reviews(raw_dir):
    return {
        category: json_lines(raw_dir / "amazon_review_2018" / "review" / f"{category}.json.gz")
        for category in CATEGORIES
    }


@pytest.fixture(scope="module")
def ratings(raw_dir):
    names = ["item", "user", "rating", "timestamp"]
    directory = raw_dir / "amazon_review_2018" / "rating"
    return {category: pd.read_csv(directory / f"{category}.csv", names=names) for category in CATEGORIES}


@pytest.fixture(scope="module")
def examples(raw_dir):
    directory = raw_dir / "shopping_queries"
    examples = pd.read_parquet(directory / "shopping_queries_dataset_examples.parquet")
    products = pd.read_parquet(directory / "shopping_queries_dataset_products.parquet")
    return examples.merge(products, on=["product_locale", "product_id"], how="left", indicator="found", validate="m:1")


@pytest.fixture(scope="module")
def questions(raw_dir):
    return {split: json_lines(raw_dir / "amazon_qa" / f"{split}-qar.jsonl") for split in ("train", "val", "test")}


@pytest.fixture(scope="module")
def extractions(raw_dir):
    return {sign: json_lines(raw_dir / "mave" / f"mave_{sign}.jsonl") for sign in ("positives", "negatives")}


def grade(title):
    """Return the sum of the values of a title's graded words, or None if they are not all there."""
    words = re.findall(r"[A-Za-z]+", title)
    values = [[graded.index(word) // 2 for word in words if word in graded] for graded in GRADED]
    return sum(value[0] for value in values) if all(len(value) == 1 for value in values) else None


def test_shopping_queries_files_have_the_columns_and_types_of_upstream(raw_dir):
    directory = raw_dir / "shopping_queries"
    examples = pq.read_schema(directory / "shopping_queries_dataset_examples.parquet")
    assert [(field.name, str(field.type)) for field in examples] == [
        ("example_id", "int64"),
        ("query", "string"),
        ("query_id", "int64"),
        ("product_id", "string"),
        ("product_locale", "string"),
        ("esci_label", "string"),
        ("small_version", "int64"),
        ("large_version", "int64"),
        ("split", "string"),
    ]
    products = pq.read_schema(directory / "shopping_queries_dataset_products.parquet")
    assert {str(field.type) for field in products} == {"string"}
    assert set(products.names) == {
        f"product_{name}" for name in ("id", "title", "description", "bullet_point", "brand", "color", "locale")
    }


def test_related_ids_name_products_of_the_same_file_but_for_a_few(metadata):
    for products in metadata.values():
        related = [asin for row in products.values() for asin in row["also_buy"] + row["also_view"]]
        similar = [text[1:11] for row in products.values() for text in row["similar_item"].split("asin")[1:]]
        assert len(similar) > 100
        for asins in (related, similar):
            assert 0.9 < sum(asin in products for asin in asins) / len(asins) < 1


def test_ratings_are_those_of_the_reviews_with_some_lines_twice(reviews, ratings):
    for category, table in ratings.items():
        expected = Counter(
            (row["asin"], row["reviewerID"], row["overall"], row["unixReviewTime"]) for row in reviews[category]
        )
        found = Counter(table.itertuples(index=False, name=None))
        assert set(found) == set(expected)
        assert len(table) == 400 + (found - expected).total()
    assert sum(table.duplicated().sum() for table in ratings.values()) > 5


def test_reviews_questions_and_extractions_name_products_of_the_metadata(metadata, reviews, questions, extractions):
    known = {asin: category for category, products in metadata.items() for asin in products}
    assert len(known) == sum(len(products) for products in metadata.values()) == 600
    for category, rows in reviews.items():
        assert 0.97 < sum(known.get(row["asin"]) == category for row in rows) / len(rows) <= 1
    assert any(row["asin"] not in known for rows in reviews.values() for row in rows)
    for rows in questions.values():
        assert all(known[row["asin"]] == row["category"] for row in rows)
    assert all(row["id"] in known for rows in extractions.values() for row in rows)


def five_core(table):
    table = table.drop_duplicates()
    while True:
        size = len(table)
        for column in ("item", "user"):
            table = table[table.groupby(column)["user"].transform("size") >= 5]
        if len(table) == size:
            return table


def test_a_good_part_of_users_survives_five_core_and_is_loyal_to_a_brand(metadata, ratings):
    for category, table in ratings.items():
        core = five_core(table)
        assert core["user"].nunique() >= 24
        assert len(core) >= 0.4 * len(table)
        makers = core["item"].map(lambda asin, category=category: metadata[category].get(asin, {}).get("brand"))
        shares = (
            makers[makers.astype(bool)]
            .groupby(core["user"])
            .agg(lambda group: group.value_counts(normalize=True).max())
        )
        assert shares.mean() > 0.8


def test_several_purchases_happen_at_the_same_time(ratings):
    tables = [table.drop_duplicates() for table in ratings.values()]
    assert sum(table.duplicated(["user", "timestamp"]).sum() for table in tables) > 20


def test_types_of_different_categories_are_disjoint(metadata):
    types = {category: {row["category"][2] for row in products.values()} for category, products in metadata.items()}
    assert len(set.union(*types.values())) == sum(len(names) for names in types.values()) == 60


def relations_of_pairs(products):
    """Return the relations of each pair of sorted titles, read as the recipe says."""
    pairs = defaultdict(set)
    for asin, row in products.items():
        ids = {
            "buy": row["also_buy"],
            "view": row["also_view"],
            "similar": [piece[1:11] for piece in row["similar_item"].split("asin")],
        }
        for name, others in ids.items():
            for other in others:
                titles = sorted((row.get("title", ""), products.get(other, {}).get("title", "")))
                if other != asin and all(titles) and titles[0] != titles[1]:
                    pairs[tuple(titles)].add(name)
    return pairs


def test_the_relation_of_two_products_follows_from_their_titles(metadata):
    found = Counter()
    for products in metadata.values():
        for titles, names in relations_of_pairs(products).items():
            grades = [grade(title) for title in titles]
            if len(names) > 1 or None in grades:
                found["other"] += 1
                continue
            step = grades[1] - grades[0]
            assert names == {"buy" if step >= 2 else "view" if step <= -2 else "similar"}
            found.update(names)
    assert min(found[name] for name in ("buy", "view", "similar")) > 300
    assert 0 < found["other"] < 200


def test_stars_count_the_remarks_that_praise(reviews):
    rows = [row for category in CATEGORIES for row in reviews[category] if "reviewText" in row]
    long = [row for row in rows if len(row["reviewText"].split(" ")) >= 10]
    for row in long:
        remarks = re.findall(r"the \w+ is (not|so) (\w+)", row["reviewText"])
        praises = sum((word in PRAISE) != (how == "not") for how, word in remarks)
        assert all(word in PRAISE + BLAME for _, word in remarks)
        assert (len(remarks), praises) == (4, row["overall"] - 1)
        assert 15 <= len(row["reviewText"].split(" ")) <= 60
    assert len({row["reviewText"] for row in long}) == len(long)
    assert {row["overall"] for row in long} == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert 0 < len(rows) - len(long) < 0.15 * len(rows)
    assert 0 < 2000 - len(rows) < 60


def test_the_esci_label_follows_from_query_and_title(examples):
    assert (examples["found"] == "both").all()
    english = examples[(examples["product_locale"] == "us") & examples["product_title"].notna()]
    checked = 0
    for row in english.itertuples():
        words = row.query.split(" ")
        value = grade(row.product_title.replace("<br>", ", "))
        if words[0] == "a" and value is not None:
            low, high = GAPS[row.esci_label]
            assert low <= value - WISHES.index(words[1]) // 2 <= high
            assert words[3] in row.product_title
            checked += 1
    assert checked > 0.9 * len(english)
    shares = english["esci_label"].value_counts(normalize=True)
    assert set(shares.index) == set(ESCI)
    assert shares.min() > 0.1


def test_a_query_text_has_one_id_one_split_and_several_labels(examples):
    groups = examples[examples["product_locale"] == "us"].groupby("query")
    for column in ("query_id", "split"):
        assert groups[column].nunique().max() == 1
    assert (groups["esci_label"].nunique() >= 2).mean() > 0.9
    assert not examples.duplicated(["query_id", "product_id", "product_locale"]).any()
    assert examples["example_id"].is_unique
    assert set(examples["split"]) == {"train", "test"}
    assert 0.6 < examples["small_version"].mean() < 1


def test_shopping_queries_have_the_quirks_of_upstream(examples, raw_dir):
    assert set(examples["product_locale"]) == {"us", "es", "jp"}
    products = pd.read_parquet(raw_dir / "shopping_queries" / "shopping_queries_dataset_products.parquet")
    titles = products[products["product_locale"] == "us"]["product_title"]
    assert titles.isna().any()
    assert titles.str.contains("<br>", na=False).any()
    assert titles.str.contains("España", na=False).any()
    assert titles.str.contains("高級", na=False).any()


def test_metadata_has_the_quirks_of_upstream(raw_dir, metadata):
    lines = {category: metadata_lines(raw_dir, category) for category in CATEGORIES}
    everything = [row for products in metadata.values() for row in products.values()]
    assert sum(map(len, lines.values())) > len(everything)  # repeated asins
    for category, rows in lines.items():
        for row in rows:
            if row.get("title", "").startswith("Old "):
                assert metadata[category][row["asin"]] != row
    assert {type(row["rank"]) for row in everything} == {str, list}
    titles = [row.get("title") for row in everything]
    assert None in titles
    assert "" in titles
    assert any("&amp;" in title for title in titles if title)
    assert any(title.startswith("<") for title in titles if title)
    assert any(not row["brand"] for row in everything)
    assert any('"' in row["description"][0] and "ü" in row["description"][0] for row in everything)


def test_metadata_of_2014_are_literals_that_fill_the_gaps_of_2018(raw_dir, metadata):
    for category, products in metadata.items():
        data = (raw_dir / "amazon_review_2014" / "meta" / f"meta_{category}.json.gz").read_bytes()
        old = {row["asin"]: row for row in map(ast.literal_eval, gzip.decompress(data).decode().splitlines())}
        assert 0.9 * len(products) < len(old) <= len(products)
        for asin, row in products.items():
            if not row.get("title") or not row["brand"]:
                assert old[asin]["title"]
                assert old[asin]["brand"]
                assert old[asin]["categories"][0]


def test_the_best_answer_repeats_what_the_snippets_say(questions):
    rows = [row for split in questions.values() for row in split]
    assert [len(questions[split]) for split in ("train", "val", "test")] == [160, 20, 20]
    assert len({row["qid"] for row in rows}) == len(rows)
    with_votes = 0
    for row in rows:
        answers = sorted(row["answers"], key=lambda answer: -answer["helpful"][0])  # stable: the first of equals
        if answers[0]["helpful"][0] > 0:
            with_votes += 1
            is_told = any(answers[0]["answerText"] in snippet for snippet in row["review_snippets"])
            assert is_told == bool(row["is_answerable"])
    assert 0 < len(rows) - with_votes < 0.3 * len(rows)
    assert {row["questionType"] for row in rows} == {"descriptive", "yesno"}
    assert {row["is_answerable"] for row in rows} == {0, 1}
    assert any(TOPICS["color"][0] in row["questionText"] for row in rows)


def test_evidences_point_at_their_values(extractions):
    for row in extractions["positives"]:
        for attribute in row["attributes"]:
            assert attribute["evidences"]
            for evidence in attribute["evidences"]:
                text = row["paragraphs"][evidence["pid"]]["text"]
                assert text[evidence["begin"] : evidence["end"]] == evidence["value"]
    for row in extractions["negatives"]:
        assert row["attributes"]
        assert all(attribute["evidences"] == [] for attribute in row["attributes"])
    rows = extractions["positives"] + extractions["negatives"]
    assert len({attribute["key"] for row in rows for attribute in row["attributes"]}) >= 12
    assert any(len(attribute["evidences"]) > 1 for row in rows for attribute in row["attributes"])
    sources = [[paragraph["source"] for paragraph in row["paragraphs"]] for row in rows]
    assert {"title", "description", "feature"} <= set.intersection(*map(set, sources))
    assert all(found.count("feature") > 1 for found in sources)


def test_amazon_google_files_are_read_as_the_real_ones(raw_dir):
    tables = amazon_google.read(Storage(), str(raw_dir))
    assert len(tables.amazon) == len(tables.mapping) == 120
