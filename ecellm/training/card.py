"""The model card: README.md beside the weights, in the format of the Hugging Face hub, with a loss curve as SVG.

In: what the job was told, what its rows are, and the training log. Out: `README.md` and `loss_curve.svg`, which say
what was trained on what, with which settings, how fast, why these weights were chosen, and how to load them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

from ecellm.config import FinetuneConfig
from ecellm.loss_curve import draw_loss, loss_curve
from ecellm.manifest import read_manifest
from ecellm.prompts.record import record_of
from ecellm.prompts.rendering import PromptParts, render
from ecellm.redaction import redacted_text
from ecellm.storage import Storage, join
from ecellm.training.rows import INDEX_NAME, read_index, split_directory
from ecellm.training.rows import num_rows as count_rows
from ecellm.training.schedule import plan_steps

CARD_NAME, CURVE_NAME = "README.md", "loss_curve.svg"
ADAPTER = "adapter"
_SPLITS = ("train", "val")
_MOST_VALIDATIONS = 40
_DEFAULT_TARGETS = "all linear layers, and lm_head unless it is tied to the embeddings"
Log = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RowFigures:
    """What is known of the training rows.

    Attributes:
        num_rows: rows by split.
        num_tokens: tokens by split, prompts and answers.
        by_task: rows by task and split.
        settings: settings of the samples, sorted.
        preprocess: `config` and `details` of preprocess' manifest; empty if others made the rows.
    """

    num_rows: Mapping[str, int]
    num_tokens: Mapping[str, int]
    by_task: Mapping[tuple[str, str], int]
    settings: Sequence[str]
    preprocess: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def describe_rows(storage: Storage, rows_dir: str) -> RowFigures:
    """Count the rows in `rows_dir`; of their columns only task and setting are read."""
    num_rows: dict[str, int] = {}
    num_tokens: dict[str, int] = {}
    by_task: Counter[tuple[str, str]] = Counter()
    settings: set[str] = set()
    for split in _SPLITS:
        groups = read_index(storage, rows_dir, split)
        num_rows[split] = count_rows(groups)
        num_tokens[split] = _count_tokens(storage, rows_dir, split) if groups else 0
        for name in sorted({group.file for group in groups}):
            table = storage.read_table(join(split_directory(rows_dir, split), name), ["task", "setting"])
            for task, number in Counter(table["task"].to_pylist()).items():
                by_task[task, split] += number
            settings.update(table["setting"].unique().to_pylist())
    return RowFigures(num_rows, num_tokens, by_task, sorted(settings), _preprocess_manifest(storage, rows_dir))


def _count_tokens(storage: Storage, rows_dir: str, split: str) -> int:
    index = storage.read_table(join(split_directory(rows_dir, split), INDEX_NAME), ["num_tokens"])
    return sum(index["num_tokens"].to_pylist())


def _preprocess_manifest(storage: Storage, rows_dir: str) -> dict[str, Any]:
    manifest = read_manifest(storage, rows_dir)
    config, details = manifest.get("config", {}), manifest.get("details", {})
    known = manifest.get("job") == "preprocess" and record_of(config) is not None
    return {"config": config, "details": details} if known else {}


@dataclass(frozen=True)
class TrainingFacts:
    """What a card says of a training run.

    Attributes:
        config: the job's config.
        base_model: the model that was tuned, a local path made absolute.
        rows: the training rows.
        log: rows of the training log.
        best_step: the step whose weights were kept; None = the last, without validation rows.
        seconds: time spent training.
    """

    config: FinetuneConfig
    base_model: str
    rows: RowFigures
    log: Log
    best_step: int | None
    seconds: float


def write_card(
    directory: Path, *, kind: str, facts: TrainingFacts, tokenizer: Any, is_encoder_decoder: bool = False
) -> None:
    """Write `README.md` and `loss_curve.svg` into a model's local directory.

    Args:
        directory: where the weights are.
        kind: adapter, model or merged: what the weights are.
        facts: the training run.
        tokenizer: the model's, for its chat template.
        is_encoder_decoder: whether it is a sequence-to-sequence model.
    """
    curve = loss_curve("training", facts.log)
    if curve is not None:
        (directory / CURVE_NAME).write_text(draw_loss(curve, is_file=True), encoding="utf-8")
    text = render_card(
        kind=kind, facts=facts, tokenizer=tokenizer, is_encoder_decoder=is_encoder_decoder, has_curve=curve is not None
    )
    (directory / CARD_NAME).write_text(text, encoding="utf-8")


def render_card(*, kind: str, facts: TrainingFacts, tokenizer: Any, is_encoder_decoder: bool, has_curve: bool) -> str:
    """Return the card's text."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True)  # noqa: S701
    text = resources.files("ecellm.training").joinpath("card.md").read_text(encoding="utf-8")
    config = facts.config
    return environment.from_string(text).render(
        kind=kind,
        is_adapter=kind == ADAPTER,
        base_model=redacted_text(config.base_model),
        hub_name=_hub_name(facts.base_model),
        revision=config.base_model_revision,
        method=_method(config),
        auto_class="Seq2SeqLM" if is_encoder_decoder else "CausalLM",
        pipeline_tag="text2text-generation" if is_encoder_decoder else "text-generation",
        is_encoder_decoder=is_encoder_decoder,
        settings=_settings(config),
        speed=_speed(facts),
        choice=_choice(facts),
        validations=_validations(facts),
        score_tasks=_score_tasks(facts.log),
        has_curve=has_curve,
        prompt=_prompt(facts.rows, tokenizer),
        is_chat=_preprocess_config(facts.rows).get("prompt_format") == "chat_template",
        **_data(facts.rows),
    )


def _hub_name(base_model: str) -> str | None:
    """Return the base model's name on the hub; None for paths, URLs and packages."""
    return None if "://" in base_model or base_model.startswith("/") else base_model


def _method(config: FinetuneConfig) -> str:
    names = {
        "lora": "low-rank adapters (LoRA)",
        "qlora": "low-rank adapters on a base model in 4 bits (QLoRA)",
        "full": "all weights",
    }
    return names[config.method]


def _settings(config: FinetuneConfig) -> dict[str, str]:
    """Return what decides the weights, by name."""
    optimizer, lora = config.optimizer, config.lora
    schedule = f"{optimizer.schedule}, warm-up over {optimizer.warmup_ratio:.0%} of the steps"
    settings = {"method": _method(config)}
    if config.uses_adapters:
        targets = ", ".join(lora.target_modules) if lora.target_modules else _DEFAULT_TARGETS
        settings["LoRA"] = f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout:g}, on {targets}"
    steps = "" if config.max_steps is None else f", at most {config.max_steps:,} steps"
    return settings | {
        "learning rate": f"{optimizer.learning_rate:g}, {schedule}",
        "optimizer": f"AdamW, betas {optimizer.betas[0]:g} and {optimizer.betas[1]:g}, epsilon {optimizer.eps:g}, "
        f"weight decay {optimizer.weight_decay:g}, gradients clipped to {optimizer.max_grad_norm:g}",
        "batch": f"{config.global_batch_size:,} samples a step, each {config.loss_normalization} weighs the same",
        "epochs": f"{config.num_epochs}{steps}",
        "precision": f"{config.precision}, DeepSpeed ZeRO {config.deepspeed.stage}, {config.num_workers} worker(s)",
        "seed": str(config.seed),
    }


def _speed(facts: TrainingFacts) -> dict[str, str]:
    rows = [row for row in facts.log if row["kind"] == "train"]
    speed = {"steps": f"{len(rows):,}", "seconds": f"{facts.seconds:,.0f}, validation and checkpoints included"}
    if not rows:
        return speed
    speed["tokens a second"] = f"{median(row['tokens_per_second'] for row in rows):,.0f} (median, without padding)"
    speed["padding"] = f"{sum(row['padding_share'] for row in rows) / len(rows):.1%} of the positions computed"
    shares = [row["mfu"] for row in rows if row.get("mfu") is not None]
    speed["model FLOP/s utilisation"] = f"{median(shares):.1%}" if shares else "n/a"
    memory = [row["memory_gib"] for row in rows if row.get("memory_gib") is not None]
    if memory:
        speed["memory"] = f"{max(memory):.1f} GiB on the fullest worker"
    return speed


def _choice(facts: TrainingFacts) -> str:
    """Return why these weights and no others, as sentences."""
    steps = [row["step"] for row in facts.log if row["kind"] == "train"]
    last, planned = max(steps, default=0), plan_steps(facts.config, facts.rows.num_rows["train"]).num_steps
    if facts.best_step is None:
        return f"These are the weights after the last step, {last:,} of {planned:,}: there were no validation rows."
    losses = {row["step"]: row["loss"] for row in facts.log if row["kind"] == "val"}
    text = (
        f"These are the weights after step {facts.best_step:,} of {planned:,}, which had the lowest validation loss, "
        f"{losses[facts.best_step]:.4f}, of {len(losses):,} validations."
    )
    if last < planned and facts.config.early_stopping_patience is not None:
        patience = facts.config.early_stopping_patience
        text += f" Training stopped after step {last:,}: {patience} validation(s) in a row had brought no better loss."
    return text


def _score_tasks(log: Log) -> list[str]:
    return sorted({task for row in log for task in dict(row.get("scores") or ())})


def _validations(facts: TrainingFacts) -> list[dict[str, Any]]:
    """Return the lines of the table of validations; of very many the best, the last and some between."""
    rows = [row for row in facts.log if row["kind"] == "val"]
    every = -(-len(rows) // _MOST_VALIDATIONS)
    tasks = _score_tasks(facts.log)
    lines = []
    for place, row in enumerate(rows):
        is_best = row["step"] == facts.best_step
        if not is_best and (len(rows) - 1 - place) % every:
            continue
        scores = dict(row.get("scores") or ())
        lines.append(
            {
                "step": f"{row['step']:,}" + (" (kept)" if is_best else ""),
                "epoch": f"{row['epoch']:.2f}",
                "loss": f"{row['loss']:.4f}",
                "scores": [f"{scores[task]:.3f}" if task in scores else "-" for task in tasks],
            }
        )
    return lines


def _preprocess_config(rows: RowFigures) -> Mapping[str, Any]:
    return rows.preprocess.get("config", {})


def _prompt(rows: RowFigures, tokenizer: Any) -> str | None:
    """Return the prompt's wording with its places in braces; None if the rows do not say which it was."""
    prompt_format = _preprocess_config(rows).get("prompt_format")
    if prompt_format is None:
        return None
    return render(PromptParts("{instruction}", "{input}", "{options}"), prompt_format, tokenizer)


def _data(rows: RowFigures) -> dict[str, Any]:
    tasks = sorted({task for task, _ in rows.by_task})
    config, details = _preprocess_config(rows), rows.preprocess.get("details", {})
    notes = []
    if config:
        length, prompt_format = config["max_length"], config["prompt_format"]
        notes.append(f"At most {length:,} tokens a sample, prompts in the format `{prompt_format}`")
    if isinstance(details.get("num_shortened"), int) and details["num_shortened"]:
        notes.append(f"{details['num_shortened']:,} inputs were shortened to fit")
    return {
        "num_rows": {split: f"{number:,}" for split, number in rows.num_rows.items()},
        "num_tokens": {split: f"{number:,}" for split, number in rows.num_tokens.items()},
        "tasks": [{"task": task} | _task_counts(rows, task) for task in tasks],
        "sample_settings": rows.settings,
        "notes": notes,
    }


def _task_counts(rows: RowFigures, task: str) -> dict[str, str]:
    return {split: f"{rows.by_task.get((task, split), 0):,}" for split in _SPLITS}
