import json
from xml.etree import ElementTree as ET

import pytest
import yaml
from conftest import example_rows, make_llama, write_rows

from ecellm.config import FinetuneConfig
from ecellm.storage import Storage
from ecellm.training.card import TrainingFacts, describe_rows, render_card, write_card


def config(**changes):
    defaults = {"rows_dir": "rows", "base_model": "org/base", "output_dir": "out", "global_batch_size": 10}
    return FinetuneConfig(**{**defaults, **changes})


def training_log(num_steps, val_losses, scores=None):
    rows = []
    for step in range(1, num_steps + 1):
        speed = {"tokens_per_second": 100.0 * step, "padding_share": 0.1, "mfu": 0.4, "memory_gib": 2.0 + step}
        rows.append(
            {"step": step, "epoch": step / 5, "kind": "train", "loss": 2 / step, "learning_rate": 1e-4, **speed}
        )
        if step in val_losses:
            found = (scores or {}).get(step)
            rows.append({"step": step, "epoch": step / 5, "kind": "val", "loss": val_losses[step], "scores": found})
    return rows


@pytest.fixture
def rows_dir(tmp_path):
    """50 training rows in two settings and 13 validation rows, with what preprocess tells of them."""
    train = example_rows(50)
    for number, row in enumerate(train):
        row["task"] = "Sentiment_Analysis" if number < 20 else "Product_Matching"
        row["setting"] = "IND_Single_Instruction" if number < 5 else row["setting"]
    rows = write_rows(tmp_path / "rows", {"train": train, "val": example_rows(13, seed=1)})
    told = {"prompt_format": "alpaca", "max_length": 2048, "max_answer_tokens": 128}
    manifest = {"job": "preprocess", "config": told, "details": {"num_shortened": 3}}
    (rows / "_manifest.json").write_text(json.dumps(manifest))
    return rows


def facts(rows_dir, log, *, best_step=None, base_model="org/base", **changes):
    rows = describe_rows(Storage(), str(rows_dir))
    return TrainingFacts(config(**changes), base_model, rows, log, best_step, 1234.4)


def card(given, *, kind="adapter", is_encoder_decoder=False):
    text = render_card(kind=kind, facts=given, tokenizer=None, is_encoder_decoder=is_encoder_decoder, has_curve=True)
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_rows_are_counted_by_task(rows_dir):
    found = describe_rows(Storage(), str(rows_dir))
    assert found.num_rows == {"train": 50, "val": 13}
    assert found.num_tokens["train"] == sum(len(row["input_ids"]) for row in example_rows(50))
    assert found.by_task == {
        ("Sentiment_Analysis", "train"): 20,
        ("Product_Matching", "train"): 30,
        ("Product_Matching", "val"): 13,
    }
    assert found.settings == ["IND_Diverse_Instruction", "IND_Single_Instruction"]


def test_the_front_matter_is_what_the_hub_reads(rows_dir):
    from huggingface_hub import ModelCard

    front, _ = card(facts(rows_dir, training_log(15, {})))
    assert (front["base_model"], front["library_name"]) == ("org/base", "peft")
    assert front["pipeline_tag"] == "text-generation"
    merged, _ = card(facts(rows_dir, training_log(15, {}), base_model="/models/base"), kind="merged")
    assert merged["library_name"] == "transformers"
    assert "base_model" not in merged, "a path says nothing to the hub"
    text = render_card(
        kind="model", facts=facts(rows_dir, []), tokenizer=None, is_encoder_decoder=True, has_curve=False
    )
    assert ModelCard(text).data.library_name == "transformers"


def test_it_says_what_was_trained_on_what(rows_dir):
    _, body = card(facts(rows_dir, training_log(15, {}), lora={"r": 8, "target_modules": ["q_proj"]}))
    assert "| Product_Matching | 30 | 13 |" in body
    assert "| Sentiment_Analysis | 20 | 0 |" in body
    assert "IND_Diverse_Instruction, IND_Single_Instruction" in body
    assert "3 inputs were shortened to fit." in body
    assert "| LoRA | r 8, alpha 16, dropout 0.1, on q_proj |" in body
    assert "| tokens a second | 800 (median, without padding) |" in body
    assert "| model FLOP/s utilisation | 40.0% |" in body
    assert "| memory | 17.0 GiB on the fullest worker |" in body
    assert (
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Options:\n{options}\n\n### Response:\n" in body
    )
    assert "LoRA" not in card(facts(rows_dir, [], method="full"), kind="model")[1]


@pytest.mark.parametrize(
    ("num_steps", "val_losses", "best_step", "changes", "sentences"),
    [
        (15, {}, None, {}, "These are the weights after the last step, 15 of 15: there were no validation rows."),
        (
            15,
            {5: 0.7, 10: 0.5, 15: 0.6},
            10,
            {},
            "These are the weights after step 10 of 15, which had the lowest validation loss, 0.5000, of 3 validations.",
        ),
        (
            12,
            {4: 0.5, 8: 0.6, 12: 0.7},
            4,
            {"early_stopping_patience": 2},
            "of 3 validations. Training stopped after step 12: 2 validation(s) in a row had brought no better loss.",
        ),
    ],
)
def test_it_says_why_these_weights(rows_dir, num_steps, val_losses, best_step, changes, sentences):
    _, body = card(facts(rows_dir, training_log(num_steps, val_losses), best_step=best_step, **changes))
    assert f"{sentences}\n" in body


def test_validations_are_a_table_with_scores_by_task(rows_dir):
    scores = {10: [("Sentiment_Analysis", 0.5), ("Product_Matching", 0.25)]}
    _, body = card(facts(rows_dir, training_log(15, {5: 0.7, 10: 0.5}, scores), best_step=10))
    assert (
        "| after step | epochs | validation loss | Product_Matching | Sentiment_Analysis |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n"
        "| 5 | 1.00 | 0.7000 | - | - |\n"
        "| 10 (kept) | 2.00 | 0.5000 | 0.250 | 0.500 |\n"
    ) in body


def test_of_very_many_validations_the_best_and_the_last_are_shown(rows_dir):
    losses = {step: abs(step - 101) / 100 + 0.1 for step in range(1, 401)}
    _, body = card(facts(rows_dir, training_log(400, losses), best_step=101))
    lines = [line for line in body.splitlines() if line.startswith("| ") and line.endswith("00 |") and "." in line]
    assert 40 <= len(lines) <= 42
    assert any(line.startswith("| 101 (kept)") for line in lines)
    assert any(line.startswith("| 400 |") for line in lines)


def test_rows_of_others_have_a_card_too(rows_dir):
    (rows_dir / "_manifest.json").unlink()
    _, body = card(facts(rows_dir, training_log(15, {})))
    assert "How the prompts were written is not known" in body


def test_the_loading_code_is_for_the_kind_of_model(rows_dir):
    given = facts(rows_dir, training_log(15, {}))
    assert 'AutoPeftModelForCausalLM.from_pretrained("PATH")' in card(given)[1]
    body = card(given, kind="merged", is_encoder_decoder=True)[1]
    assert 'AutoModelForSeq2SeqLM.from_pretrained("PATH")' in body
    assert "peft" not in body


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_the_loading_code_runs_as_it_stands(rows_dir, tmp_path, kind):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ecellm.config import LoraSettings
    from ecellm.training.model import add_adapters

    base = make_llama(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    if kind == "adapter":
        model = add_adapters(model, LoraSettings(r=4), seed=1)
    model.save_pretrained(tmp_path / "tuned")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(tmp_path / "tuned")
    write_card(tmp_path / "tuned", kind=kind, facts=facts(rows_dir, training_log(15, {})), tokenizer=tokenizer)
    body = (tmp_path / "tuned" / "README.md").read_text()
    code = [line[4:] for line in body.split("## Loading it")[1].splitlines() if line.startswith("    ")]
    names = {"prompt": "w20 w21 w22"}
    exec("\n".join(code).replace("PATH", str(tmp_path / "tuned")), names)
    assert isinstance(names["answer"], str)


def test_the_curve_lies_beside_the_card(rows_dir, tmp_path):
    write_card(tmp_path, kind="model", facts=facts(rows_dir, training_log(15, {5: 0.7})), tokenizer=None)
    assert "](loss_curve.svg)" in (tmp_path / "README.md").read_text()
    root = ET.parse(tmp_path / "loss_curve.svg").getroot()
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"training loss", "validation loss", "learning rate", "optimizer step"} <= set(texts)
