"""What a run took: right over all parts whichever run wrote them, and kept in files that say what else they are."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.config import PredictConfig, PriceSettings
from ecellm.inference.totals import Totals, as_details, bill, describe, seconds_of, totals, with_seconds
from ecellm.schema import CONTRACT_VERSION, PREDICTIONS
from ecellm.storage import Storage

PRICE = PriceSettings(
    per_actor_hour=2.0, per_million_prompt_tokens=3.0, per_million_completion_tokens=10.0, currency="EUR"
)


def part(num_rows, prompt_tokens, completion_tokens):
    rows = [
        {
            **dict.fromkeys(("run_id", "model", "engine", "decoding", "sample_id", "example_id", "prompt_sha256"), "x"),
            **dict.fromkeys(("task", "split", "setting", "response", "finish_reason"), "x"),
            "row_index": place,
            "was_shortened": False,
            "num_prompt_tokens": prompt_tokens,
            "num_completion_tokens": completion_tokens,
        }
        for place in range(num_rows)
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


def config_of(**fields):
    return PredictConfig(samples_dir="s", model="m/m", output_dir="o", **fields)


@pytest.fixture
def output(tmp_path):
    """Three parts of two splits; one of them is empty, as where all rows of a part have failed."""
    for setting, task, number, table, seconds in (
        ("IND_Diverse_Instruction", "Product_Matching", 0, part(4, 1_000, 10), 30.0),
        ("IND_Diverse_Instruction", "Product_Matching", 1, part(2, 500, 20), 6.5),
        ("OOD_Diverse_Instruction", "Answer_Generation", 2, part(0, 0, 0), 1.25),
    ):
        path = tmp_path / "data" / f"setting={setting}" / f"task={task}" / f"part-{number:05d}.parquet"
        Storage().write_table(str(path), with_seconds(table, seconds))
    return str(tmp_path)


def test_a_part_says_its_seconds_and_all_that_it_said_before(output):
    path = next(iter(Storage().list_files(output, ".parquet")))
    schema = pq.read_schema(path)
    assert schema.metadata[b"ecellm_contract"] == CONTRACT_VERSION.encode()
    assert schema.metadata[b"ecellm_table"] == b"predictions"
    assert schema.field("response").metadata[b"description"] == b"the model's answer, as text"
    assert seconds_of(schema.metadata) == seconds_of(pq.read_metadata(path).metadata) == 30.0
    assert schema.equals(PREDICTIONS)
    assert seconds_of(None) == seconds_of({}) == 0.0


def test_totals_are_those_of_all_parts(output):
    found = totals(Storage(), output)
    assert found.num_rows_by_split == {
        ("IND_Diverse_Instruction", "Product_Matching"): 6,
        ("OOD_Diverse_Instruction", "Answer_Generation"): 0,
    }
    assert (found.num_rows, found.num_prompt_tokens, found.num_completion_tokens) == (6, 5_000, 80)
    assert found.actor_seconds == 37.75


def test_sums_do_not_overflow_the_columns_own_type(tmp_path):
    path = tmp_path / "data" / "setting=A" / "task=B" / "part-00000.parquet"
    Storage().write_table(str(path), part(3, 2**31 - 1, 0))
    assert totals(Storage(), str(tmp_path)).num_prompt_tokens == 3 * (2**31 - 1)


def test_nothing_written_is_no_error(tmp_path):
    found = totals(Storage(), str(tmp_path))
    assert (found.num_rows, found.actor_seconds) == (0, 0.0)
    assert describe(found, config_of()) == ("0 rows, 0 prompt tokens, 0 completion tokens",)
    assert as_details(found, config_of())["rows_per_actor_second"] is None


def test_the_bill_has_actor_hours_and_both_kinds_of_tokens():
    found = Totals({("a", "b"): 10}, 2_000_000, 500_000, 1_800.0)
    assert bill(found, PriceSettings()) is None
    assert bill(found, PRICE) == pytest.approx(1.0 + 6.0 + 5.0)


def test_lines_for_a_person():
    found = Totals({("a", "b"): 7_200}, 2_000_000, 16_000, 7_200.0)
    assert describe(found, config_of(price=PRICE), 1_800.0) == (
        "7,200 rows, 2,000,000 prompt tokens, 16,000 completion tokens",
        "2 actor-hours: 1 rows/s, 280 tokens/s of an actor, loading the model included",
        "30 min in all: 4 rows/s, 1,120 tokens/s",
        "cost: 10.16 EUR",
    )
    # Gone on with: this run's time says nothing of the whole, and is not shown.
    assert len(describe(found, config_of())) == 2


def test_small_costs_are_not_rounded_away():
    found = Totals({("a", "b"): 1}, 300, 20, 0.0)
    assert describe(found, config_of(price=PRICE))[-1] == "cost: 0.0011 EUR"


def test_details_are_plain_json():
    found = Totals({("a", "b"): 7_200}, 2_000_000, 16_000, 7_200.0)
    details = as_details(found, config_of(price=PRICE), 1_800.0)
    assert json.loads(json.dumps(details)) == details
    assert details["actor_hours"] == 2.0
    assert details["rows_per_actor_second"] == 1.0
    assert details["rows_per_wall_second"] == 4.0
    assert details["num_rows_by_split"] == {"a/b": 7_200}
    assert (details["cost"], details["currency"]) == (pytest.approx(10.16), "EUR")
    without = as_details(found, config_of())
    assert (without["cost"], without["currency"], without["rows_per_wall_second"]) == (None, None, None)
