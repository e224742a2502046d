"""A second, independent reading of the ten recipes: plain Python on small raw directories, the tests' oracle.

What goes in: a directory of raw sources and the categories of each domain. What comes out: the examples that the
recipes allow, before anything random (sampling, splitting, candidates, held-out attributes) is drawn:

    PRP SA AVE      {"all": [example, ...]}; AVE by split where the raw files have one
    AP AG PM        {"train": [...], "val": [...], "test": [...]}
    MPC PSI         {"train": [...], "test": [...]}, as ESCI splits them
    QPR             {"train": {query: {label: {title, ...}}}, "test": ...}
    SR              {"sequences": {(domain, category, user): [Item, ...]}, "pools": {domain: {text, ...}}}

An example is a dict of domain, category, input, options, output, source_ids (AVE: also first_attribute; its domain is
None, since the held-out attributes are drawn). Nothing is shared with the package's own build on purpose, and nothing
is fast: every rule stands where a reader looks for it. `is_english` is the one thing that a recipe leaves open: which
query and title texts count as English; by default all of the US locale do.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from tests.dataset.naive_sequences import (
    Categories,
    by_domain,
    cut_words,
    json_lines,
    product_metadata,
    sequential_recommendation,
)

Example = dict[str, Any]
SPLITS = ("train", "val", "test")
RELATION_KEYS = ("also_buy", "also_view", "similar_item")
PRP_OPTIONS = [
    "A: Users who buy product 1 may also buy product 2.",
    "B: Users who view product 1 may also view product 2.",
    "C: The product 1 is similar with the product 2.",
]
SA_OPTIONS = ["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"]
MPC_OPTIONS = [
    "A: The product is relevant to the query, and satisfies all the query specifications.",
    (
        "B: The product is somewhat relevant. It fails to fulfill some aspects of the query but the product can be "
        "used as a functional substitute."
    ),
    (
        "C: The product does not fulfill the query, but could be used in combination with a product exactly matching "
        "the query."
    ),
    "D: The product is irrelevant to the query.",
]


def examples(
    task: str, raw_dir: Path, categories: Categories, is_english: Callable[[str], bool] = lambda _text: True
) -> dict[str, Any]:
    """Read what the recipe of a task (short name) makes of a raw directory; the module says in which shape."""
    if task == "PM":
        return product_matching(raw_dir)
    if task == "AVE":
        return attribute_value_extraction(raw_dir)
    if task in ("MPC", "PSI", "QPR"):
        joined = shopping_queries(raw_dir, is_english)
        by_split = {split: [row for row in joined if row["split"] == split] for split in ("train", "test")}
        read = {"MPC": classified, "PSI": substitutes, "QPR": ranking_queries}[task]
        return {split: read(rows) for split, rows in by_split.items()}
    by_categories = {
        "PRP": product_relation_prediction,
        "SA": sentiment_analysis,
        "SR": sequential_recommendation,
        "AP": answerability_prediction,
        "AG": answer_generation,
    }
    return by_categories[task](raw_dir, categories)


# ---- Product_Relation_Prediction


def related_ids(product: dict[str, Any], key: str) -> list[str]:
    """List the ids that a product relates to: a list, or for similar_item what follows each `asin` in HTML."""
    if key != "similar_item":
        return list(product.get(key) or ())
    return [piece[1:11] for piece in (product.get(key) or "").split("asin")]


def product_relation_prediction(raw_dir: Path, categories: Categories) -> dict[str, list[Example]]:
    """PRP: pairs of titles that stand in one relation only within their category's file."""
    found: list[Example] = []
    for domain, category in by_domain(categories):
        products = product_metadata(raw_dir, category)
        pairs: list[dict[tuple[str, str], list[str]]] = [{}, {}, {}]
        for asin, product in products.items():
            for relation, key in enumerate(RELATION_KEYS):
                for other in related_ids(product, key):
                    title, other_title = product.get("title"), products.get(other, {}).get("title")
                    if other != asin and title and other_title and title != other_title:
                        (first, first_id), (second, second_id) = sorted([(title, asin), (other_title, other)])
                        pairs[relation].setdefault((first, second), [first_id, second_id])
        for relation, letter in enumerate("ABC"):
            others = [pairs[other] for other in range(3) if other != relation]
            for pair, ids in pairs[relation].items():
                if not any(pair in other for other in others):
                    text = json.dumps({"Product 1:": pair[0], "Product 2:": pair[1]})
                    found.append(example(domain, category, text, json.dumps(PRP_OPTIONS), letter, ids))
    return {"all": found}


def example(
    domain: str | None, category: str | None, text: str, options: str | None, output: str, source_ids: list[str]
) -> Example:
    """Put an example together."""
    return {
        "domain": domain,
        "category": category,
        "input": text,
        "options": options,
        "output": output,
        "source_ids": source_ids,
    }


# ---- Sentiment_Analysis


def review_file(raw_dir: Path, category: str) -> Path:
    """Find the category's review file: all reviews, or the 5-core."""
    folder = raw_dir / "amazon_review_2018" / "review"
    whole = folder / f"{category}.json.gz"
    return whole if whole.exists() else folder / f"{category}_5.json.gz"


def sentiment_analysis(raw_dir: Path, categories: Categories) -> dict[str, list[Example]]:
    """SA: among the first 200,000 lines, the reviews with text, stars, and at least ten words."""
    found: list[Example] = []
    for domain, category in by_domain(categories):
        for number, review in enumerate(json_lines(review_file(raw_dir, category))):
            if number >= 200_000:
                break
            text, stars = review.get("reviewText"), review.get("overall")
            if text and stars is not None and len(text.split(" ")) >= 10:
                output = SA_OPTIONS[5 - int(stars)]
                ids = [review["asin"], review["reviewerID"]]
                found.append(example(domain, category, text, json.dumps(SA_OPTIONS), output, ids))
    return {"all": found}


# ---- Multiclass_Product_Classification, Product_Substitute_Identification, Query_Product_Ranking


def to_ascii(text: str) -> str:
    """Decompose (NFKD) and keep what is ASCII."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def shopping_queries(raw_dir: Path, is_english: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Join ESCI's US examples with their products; query and title normalised."""
    folder = raw_dir / "shopping_queries"
    asked = pd.read_parquet(folder / "shopping_queries_dataset_examples.parquet")
    products = pd.read_parquet(folder / "shopping_queries_dataset_products.parquet")
    titles = {
        (locale, asin): title if isinstance(title, str) else ""
        for locale, asin, title in products[["product_locale", "product_id", "product_title"]].itertuples(index=False)
    }
    rows: list[dict[str, Any]] = []
    for row in records(asked):
        title = titles.get((row["product_locale"], row["product_id"]))
        if row["product_locale"] == "us" and title is not None and is_english(row["query"]) and is_english(title):
            spaced = re.sub(r"\s|</?p>|</?br>", " ", to_ascii(title))
            rows.append({**row, "query": to_ascii(row["query"]), "title": spaced})
    return rows


def _esci_ids(row: dict[str, Any]) -> list[str]:
    return [str(row["query_id"]), row["product_id"]]


def classified(rows: list[dict[str, Any]]) -> list[Example]:
    """MPC: E, S, C, I to options A to D, the output being the whole option."""
    options = json.dumps(MPC_OPTIONS)
    return [
        example(
            "IND",
            None,
            json.dumps({"query": row["query"], "product title": row["title"]}),
            options,
            MPC_OPTIONS["ESCI".index(row["esci_label"])],
            _esci_ids(row),
        )
        for row in rows
    ]


def substitutes(rows: list[dict[str, Any]]) -> list[Example]:
    """PSI: yes if the product is a substitute."""
    return [
        example(
            "IND",
            None,
            json.dumps({"query": row["query"], "product": row["title"]}),
            None,
            "yes" if row["esci_label"] == "S" else "no",
            _esci_ids(row),
        )
        for row in rows
    ]


def ranking_queries(rows: list[dict[str, Any]]) -> dict[str, dict[str, set[str]]]:
    """QPR: for each query text the titles that may stand for each label (small_version only)."""
    queries: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        if row["small_version"] == 1:
            queries.setdefault(row["query"], {}).setdefault(row["esci_label"], set()).add(row["title"])
    return queries


def label_subsets(labels: set[str]) -> set[frozenset[str]]:
    """List the sets of 2 to 4 labels that a query with these labels gives, each once."""
    return {frozenset(chosen) for size in (2, 3, 4) for chosen in combinations(sorted(labels), size)}


def ranking_output(labels: Sequence[str]) -> str:
    """Rank candidates A, B, ... by their labels: the letters in the order E, S, C, I."""
    letters = "ABCD"
    return ",".join(letters[labels.index(label)] for label in "ESCI" if label in labels)


# ---- Answerability_Prediction, Answer_Generation


def questions(raw_dir: Path, categories: Categories) -> dict[str, list[tuple[str, dict[str, Any], str]]]:
    """Read AmazonQA by its own split: domain, question, and the input that AP and AG share."""
    domains = {category: domain for domain, category in by_domain(categories)}
    asked: dict[str, list[tuple[str, dict[str, Any], str]]] = {}
    for split in SPLITS:
        path = raw_dir / "amazon_qa" / f"{split}-qar.jsonl"
        asked[split] = [
            (
                domains[question["category"]],
                question,
                json.dumps({"question": question["questionText"], "document": question["review_snippets"]}),
            )
            for question in json_lines(path)
            if question["category"] in domains
        ]
    return asked


def _question_ids(question: dict[str, Any]) -> list[str]:
    return [question["asin"], str(question["qid"])]


def answerability_prediction(raw_dir: Path, categories: Categories) -> dict[str, list[Example]]:
    """AP: yes if the question is answerable."""
    return {
        split: [
            example(
                domain,
                question["category"],
                text,
                None,
                "yes" if question["is_answerable"] else "no",
                _question_ids(question),
            )
            for domain, question, text in asked
        ]
        for split, asked in questions(raw_dir, categories).items()
    }


def answer_generation(raw_dir: Path, categories: Categories) -> dict[str, list[Example]]:
    """AG: the most helpful answer (the first of equals) to descriptive, answerable questions that have one."""
    found: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for split, asked in questions(raw_dir, categories).items():
        for domain, question, text in asked:
            best, most_votes = None, 0
            for answer in question["answers"]:
                if answer["helpful"][0] > most_votes:
                    best, most_votes = answer["answerText"], answer["helpful"][0]
            if question["questionType"] == "descriptive" and question["is_answerable"] and best is not None:
                found[split].append(example(domain, question["category"], text, None, best, _question_ids(question)))
    return found


# ---- Attribute_Value_Extraction


def attribute_value_extraction(raw_dir: Path) -> dict[str, list[Example]]:
    """AVE: positives, then negatives; of each split where the files name one, else under `all`."""
    folder = raw_dir / "mave"
    if not (folder / "mave_positives.jsonl").exists():
        files = {split: (f"{split}_positives.jsonl", f"{split}_negatives.jsonl") for split in SPLITS}
    else:
        files = {"all": ("mave_positives.jsonl", "mave_negatives.jsonl")}
    return {
        split: [extraction(row) for name in names for row in json_lines(folder / name)]
        for split, names in files.items()
    }


def extraction(row: dict[str, Any]) -> Example:
    """Turn a MAVE row into an example; its first attribute decides whether it is held out."""
    texts: dict[str, list[str]] = {}
    for paragraph in row["paragraphs"]:
        texts.setdefault(f"product {paragraph['source']}", []).append(paragraph["text"])
    told = {source: ", ".join(pieces) for source, pieces in texts.items()}
    told["target attributes"] = " and ".join(attribute["key"] for attribute in row["attributes"])
    answers: list[dict[str, str]] = []
    for attribute in row["attributes"]:
        key = attribute["key"].lower()
        found = [
            {
                "attribute": key,
                "value": evidence["value"].lower(),
                "source": f"product {row['paragraphs'][evidence['pid']]['source']}".lower(),
            }
            for evidence in attribute["evidences"]
        ]
        for answer in found or [{"attribute": key, "value": "None", "source": "None"}]:
            if answer not in answers:
                answers.append(answer)
    built = example(None, row["category"], json.dumps(told), None, json.dumps(answers), [row["id"]])
    return {**built, "first_attribute": row["attributes"][0]["key"]}


# ---- Product_Matching


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """List a table's rows."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def listings(path: Path) -> pd.DataFrame:
    """Read a shop's CSV as the recipe defines it: pandas' own column types, U+FFFD for what is not UTF-8."""
    return pd.read_csv(path, encoding="utf-8", encoding_errors="replace").rename(columns={"name": "title"})


def listing(row: dict[str, Any]) -> dict[str, Any]:
    """Write a product: a long description cut to 50 words; manufacturer and price through str()."""
    description = row["description"]
    return {
        "title": row["title"],
        "description": cut_words(description, 50) if isinstance(description, str) else float("nan"),
        "manufacturer": str(row["manufacturer"]),
        "price": str(row["price"]),
    }


def product_matching(raw_dir: Path) -> dict[str, list[Example]]:
    """PM: the mapping's pairs, then as many drawn ones; the release's own split."""
    folder = raw_dir / "amazon_google"
    amazon, google = listings(folder / "Amazon.csv"), listings(folder / "GoogleProducts.csv")
    mapping = records(pd.read_csv(folder / "Amzon_GoogleProducts_perfectMapping.csv"))
    amazon_rows = {row["id"]: row for row in records(amazon)}
    google_rows = {row["id"]: row for row in records(google)}
    seen: set[tuple[str, str]] = set()
    positives: list[Example] = []
    for mapped in mapping:
        if mapped["idAmazon"] in amazon_rows and mapped["idGoogleBase"] in google_rows:
            positives += matched(amazon_rows[mapped["idAmazon"]], google_rows[mapped["idGoogleBase"]], "yes", seen)
    negatives: list[Example] = []
    shuffled_amazon = amazon.sample(frac=1, random_state=1)
    shuffled_google = records(google.sample(frac=1, random_state=1))
    for original_index, row in zip(shuffled_amazon.index.tolist(), records(shuffled_amazon), strict=True):
        if len(negatives) < len(positives) and original_index < len(shuffled_google):
            negatives += matched(row, shuffled_google[original_index], "no", seen)
    train, rest = train_test_split(positives + negatives, test_size=0.2, random_state=1)
    val, test = train_test_split(rest, test_size=0.5, random_state=1)
    return {"train": train, "val": val, "test": test}


def matched(amazon: dict[str, Any], google: dict[str, Any], output: str, seen: set[tuple[str, str]]) -> list[Example]:
    """Make a pair's example; nothing if the two texts were paired before, either way round."""
    first, second = json.dumps(listing(amazon)), json.dumps(listing(google))
    if (first, second) in seen or (second, first) in seen:
        return []
    seen.add((first, second))
    text = json.dumps({"product 1": listing(amazon), "product 2": listing(google)})
    return [example("IND", None, text, None, output, [amazon["id"], google["id"]])]
