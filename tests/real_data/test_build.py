"""Builds from real raw files: two complete categories of Amazon Review, AmazonQA's sample, inputs of the release."""

import gzip
import json
import shutil
from collections import Counter

import pyarrow as pa
import pytest

from ecellm.dataset.builders import flow
from ecellm.sources.amazon_reviews import decode_old_product
from ecellm.tasks import multiclass_product_classification, product_substitute_identification, task_named
from ecellm.tasks.product_relation_prediction import pair_inputs
from tests.dataset.conftest import build, read_samples
from tests.dataset.naive_recipes import examples as naive_examples
from tests.dataset.naive_sequences import faults_of_sequence_sample
from tests.dataset.small_builds import run_in_process

pytestmark = pytest.mark.usefixtures("local_ray")
CATEGORIES = {"in_domain": ["Gift_Cards"], "out_of_domain": ["Magazine_Subscriptions"]}


def build_here(raw_dir, directory, **fields):
    """Build in this process; return the samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "run_shards", run_in_process)
        return read_samples(build(directory, raw_dir=str(raw_dir), **fields))


@pytest.fixture(scope="module")
def samples(real_data, local_ray, tmp_path_factory):
    tasks = ("PM", "PRP", "SA", "SR")
    return build_here(real_data, tmp_path_factory.mktemp("real") / "out", tasks=tasks, categories={"all": CATEGORIES})


def rows_of(samples, short_name, domain="IND"):
    task = task_named(short_name).name
    return samples[(samples["task"] == task) & (samples["setting"] == f"{domain}_Diverse_Instruction")]


def contents(rows):
    return Counter(zip(rows["category"], rows["input"], rows["options"], rows["output"], strict=True))


def naive_contents(examples, domain):
    return Counter(
        (own["category"], own["input"], own["options"], own["output"]) for own in examples if own["domain"] == domain
    )


def test_product_matching_has_the_release_s_counts(samples):
    found = Counter(rows_of(samples, "PM")["split"])
    assert found == {"train": 2022, "val": 253, "test": 253}


@pytest.mark.parametrize("short_name", ["PRP", "SA"])
def test_relations_and_reviews_are_what_the_recipe_gives(short_name, real_data, samples):
    naive = naive_examples(short_name, real_data, CATEGORIES)["all"]
    expected = naive_contents(naive, "IND")
    assert expected.total() > 500
    assert contents(rows_of(samples, short_name)) == expected
    sizes = Counter(rows_of(samples, short_name)["split"])
    number = expected.total()
    assert sizes["train"] == number * 8 // 10
    assert sizes["train"] + sizes["val"] == number * 9 // 10

    # Out of domain only the test part is used: a tenth.
    possible = naive_contents(naive, "OOD")
    out_of_domain = contents(rows_of(samples, short_name, "OOD"))
    assert out_of_domain <= possible
    assert out_of_domain.total() == possible.total() - possible.total() * 9 // 10


@pytest.mark.parametrize("domain", ["IND", "OOD"])
def test_sequences_are_what_the_recipe_gives(domain, real_data, samples):
    naive = naive_examples("SR", real_data, CATEGORIES)
    users = {(category, user) for own, category, user in naive["sequences"] if own == domain}
    assert len(users) > 50
    rows = rows_of(samples, "SR", domain)
    for split in ("train", "val", "test") if domain == "IND" else ("test",):
        found = []
        for row in rows[rows["split"] == split].itertuples():
            user = row.source_ids[1].removeprefix("user ")
            found.append((row.category, user))
            sequence = naive["sequences"][domain, row.category, user]
            pool = naive["pools"][domain]
            assert not faults_of_sequence_sample(sequence, pool, split, row.input, row.options, row.output)
        assert len(found) == len(set(found))
        assert set(found) == users


def test_answers_and_answerability_of_the_real_records(real_data, tmp_path):
    for file in (real_data / "amazon_qa").glob("*-qar.sample.jsonl"):
        (tmp_path / "amazon_qa").mkdir(exist_ok=True)
        shutil.copyfile(file, tmp_path / "amazon_qa" / file.name.replace(".sample", ""))
    categories = {"in_domain": ["Electronics"], "out_of_domain": ["Home_and_Kitchen"]}
    samples = build_here(tmp_path, tmp_path / "out", tasks=("AP", "AG"), categories={"all": categories})
    for short_name in ("AP", "AG"):
        naive = naive_examples(short_name, tmp_path, categories)
        for domain, split, number in (("IND", "train", 2), ("OOD", "test", 1)):
            rows = rows_of(samples, short_name, domain)
            expected = naive_contents(naive[split], domain)
            assert contents(rows[rows["split"] == split]) == expected
            assert expected.total() == number


def test_the_real_row_of_2014_is_read(real_data):
    path = real_data / "amazon_review_2014" / "meta" / "meta_Grocery_sample_1row.json.gz"
    (line,) = gzip.decompress(path.read_bytes()).splitlines()
    product = decode_old_product(line)
    assert product.asin == "B0000CDBQT"
    assert product.title == "Chef Paul Prudhomme's Magic Seasoning Blends ~ Meat Magic, 24-Ounce Canister"
    assert product.brand == "Magic Seasoning Blends"


@pytest.fixture(scope="module")
def true_inputs(real_data):
    """Inputs of the release by task."""
    lines = (real_data / "ecinstruct" / "true_inputs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]

    def of(short_name):
        task = task_named(short_name)
        names = (task.name, *task.aliases)
        return [(row["input"], row["options"]) for row in rows if row["file"].startswith(names)]

    return of


def test_inputs_of_relations_are_the_release_s_byte_for_byte(true_inputs):
    true = [text for text, _ in true_inputs("PRP")]
    assert len(true) == 200
    fields = [json.loads(text) for text in true]
    titles = [[own[name] for own in fields] for name in ("Product 1:", "Product 2:")]
    assert pair_inputs(pa.array(titles[0]), pa.array(titles[1])).to_pylist() == true
    assert all(first < second for first, second in zip(*titles, strict=True))


@pytest.mark.parametrize(
    ("short_name", "module", "title"),
    [
        ("MPC", multiclass_product_classification, "product title"),
        ("PSI", product_substitute_identification, "product"),
    ],
)
def test_inputs_of_judged_products_are_the_release_s_byte_for_byte(true_inputs, short_name, module, title):
    true = true_inputs(short_name)
    assert len(true) == 200
    for text, options in true:
        fields = json.loads(text)
        example = module.make_example(fields["query"], fields[title], "E", ())
        assert (example.input, example.options) == (text, options)
