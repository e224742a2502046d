"""The scores table: a row for each answer, flavour and figure."""

from ecellm.evaluation.score_table import score_table
from ecellm.evaluation.scored import score_answers
from ecellm.schema import SCORES
from ecellm.tasks import RELEASED, STRICT, task_named


def test_every_answer_has_its_figures_in_both_flavours(make_sample):
    samples = [make_sample("Product_Matching", number, "yes") for number in range(2)]
    table = score_table("run", samples, score_answers(task_named("PM"), samples, ["yes.", "no"]))
    assert table.schema.equals(SCORES, check_metadata=True)
    rows = table.to_pylist()
    assert [(row["row_index"], row["flavour"], row["value"]) for row in rows] == [
        (0, RELEASED, None),
        (0, STRICT, 1.0),
        (1, RELEASED, 0.0),
        (1, STRICT, 0.0),
    ]
    first = rows[0]
    assert (first["sample_id"], first["parsed"], first["is_valid"]) == (samples[0]["sample_id"], None, False)
    assert (rows[1]["parsed"], rows[1]["is_valid"], rows[1]["component"], rows[1]["reference"]) == (
        "yes",
        True,
        "correct",
        "yes",
    )


def test_answers_with_several_figures_have_several_rows(make_sample):
    sample = make_sample("Attribute_Value_Extraction", 0, "[]")
    table = score_table("run", [sample], score_answers(task_named("AVE"), [sample], ["[]"]))
    components = [(row["flavour"], row["component"]) for row in table.to_pylist()]
    names = ["hits", "num_predicted", "num_gold"]
    assert components == [(RELEASED, name) for name in names] + [(STRICT, name) for name in (*names, "value_hits")]
