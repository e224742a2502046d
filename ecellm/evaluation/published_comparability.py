"""Whether a figure of ours may stand beside the paper's: only if both come from the same test rows.

The paper (eCeLLM, arXiv 2402.08831) gives figures of the test split of two settings, `IND_Diverse_Instruction` and
`OOD_Diverse_Instruction`, over all rows of its released data. Whether samples are those rows is read from what their
manifest says: the job, what it left out, and its counts of rows. A manifest is no proof: made-up data cut to the
release's very sizes are taken for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ecellm.dataset.counts import published_count
from ecellm.dataset.partitions import Partition
from ecellm.evaluation.published import published_rows
from ecellm.settings import PAPER_TRAINING_SETTING, SPLITS
from ecellm.tasks import TASKS, find_task, task_named

Manifest = Mapping[str, Any]

# ECInstruct proper, 116,528 rows: what the paper counts.
_PROPER = (PAPER_TRAINING_SETTING, "OOD_Diverse_Instruction")
_MATCHING = task_named("PM").name
# 1,300 mappings of the benchmark name 1,264 distinct pairs; as build counts it under its reason.
_REPEATS = f"{_MATCHING}: mapping whose two products were seen before", 36
# The tasks whose unreadable answers the released scorer leaves out, while the paper's tables count them as wrong.
_CLOSED = ("PRP", "PM", "SA", "SR", "MPC", "PSI", "AP")
_BERTSCORE = "roberta-large", 17  # the released scorer's: BERTScore's own default for English
_BLEURT = "BLEURT-20-D12"


def comparability(
    samples_manifest: Manifest | None, task: str, setting: str, split: str, num_answered: int
) -> str | None:
    """Return None if figures of these answers may be compared with the paper's, else the reason in one sentence.

    Args:
        samples_manifest: `_manifest.json` of the samples that were answered; None where there is none.
        task: any name of the task.
        setting: of the samples.
        split: of the samples.
        num_answered: samples of this place that were answered.
    """
    known = find_task(task)
    if known is None or not published_rows(known.name, setting):
        return f"the paper has no figures of {task} in {setting}"
    if split != "test":
        return f"the paper's figures are of the test split, not of {split}"
    if samples_manifest is None:
        return "where the samples come from is not known"
    job = str(samples_manifest.get("job"))
    if job not in _ORIGINS:
        return f"the samples were made by {job}, not by ingest of the release"
    reason = _reason_of_origin(samples_manifest, known.name)
    size = published_count(Partition(setting, split, known.name)) or 0
    if reason is None and num_answered != size:
        return f"{num_answered:,} of the paper's {size:,} test rows are answered"
    return reason


def _reason_of_origin(manifest: Manifest, task: str) -> str | None:
    """Return what the samples' own job says against a comparison; a manifest that others wrote may hold anything."""
    try:
        return _ORIGINS[str(manifest["job"])](manifest, task)
    except (TypeError, ValueError, KeyError, AttributeError):
        return "the samples' manifest is not what a job of this suite writes"


def _ingested(manifest: Manifest, _task: str) -> str | None:
    """Return why ingested samples are not the release, which is known by the sizes of all its parts."""
    if any(manifest["config"].get("defaults", {}).values()):
        return "the samples are data of your own, not the release"
    if num_dropped := sum(manifest["dropped"].values()):
        return f"ingest left {num_dropped:,} rows of its input out"
    counts = _counts(manifest)
    for partition in (Partition(setting, split, own.name) for own in TASKS for setting in _PROPER for split in SPLITS):
        if difference := _difference(counts, partition):
            return f"the ingested data are not the whole release: {difference}"
    return None


def _built(manifest: Manifest, task: str) -> str | None:
    """Return why built samples are not the release's; Product_Matching's are, since no step of it draws a sample."""
    if task != _MATCHING:
        return "the test rows are drawn anew from the raw sources, and are not those of the release"
    counts, parts = _counts(manifest), [Partition(PAPER_TRAINING_SETTING, split, task) for split in SPLITS]
    reason, num_repeats = _REPEATS
    is_real = manifest["dropped"].get(reason) == num_repeats and manifest["config"].get("negatives") == "random"
    if not is_real or any(_difference(counts, part) for part in parts):
        return "the test rows are built from other sources or sizes than the release"
    return None


_ORIGINS: Mapping[str, Callable[[Manifest, str], str | None]] = {"ingest": _ingested, "build": _built}


def _counts(manifest: Manifest) -> dict[Partition, int]:
    return {Partition(*place): rows for *place, rows in manifest["details"].get("counts", ())}


def _difference(counts: Mapping[Partition, int], partition: Partition) -> str | None:
    """Return in words how many rows a part has and should have; None if these are equal."""
    rows, wanted = counts.get(partition, 0), published_count(partition) or 0
    if rows == wanted:
        return None
    return f"{partition.task}, {partition.setting}, {partition.split} has {rows:,} rows, not {wanted:,}"


def remarks(samples_manifest: Manifest, task: str, num_invalid: int) -> tuple[str, ...]:
    """Return what a reader should know of a `released` figure that may be compared, one sentence each.

    Args:
        samples_manifest: of the samples that were answered.
        task: any name of the task.
        num_invalid: answers that the released scorer could not read.
    """
    found = []
    if samples_manifest.get("job") == "build":
        own = samples_manifest.get("config", {}).get("instructions") is None
        wording = "the project's own wording" if own else "the catalogue that was given"
        found.append(f"the test rows are the paper's, but their instructions are drawn anew from {wording}")
    known = find_task(task)
    if num_invalid and known is not None and known.short_name in _CLOSED:
        found.append(
            f"the {num_invalid:,} answers that could not be read are left out here; the paper has them as wrong"
        )
    return tuple(found)


def similarity_comparability(
    metric: str,
    *,
    bertscore_model: str | None = None,
    bertscore_layer: int | None = None,
    bleurt_model: str | None = None,
) -> str | None:
    """Return None if a figure of text similarity may be compared with the paper's, else the reason in one sentence.

    Such figures depend on the model that computes them; the paper's are of BERTScore by layer 17 of roberta-large,
    without rescaling, and of BLEURT-20-D12. A model is known by the last part of its name or path.

    Args:
        metric: name in the metrics table; metrics that need no language model are always comparable in this respect,
            except `rouge_l`, which the paper does not give.
        bertscore_model: what computed BERTScore; None if nothing did.
        bertscore_layer: which layer's embeddings were compared.
        bleurt_model: what computed BLEURT; None if nothing did.
    """
    if metric == "rouge_l":
        return "the paper does not give rouge_l"
    if metric.startswith("bertscore_"):
        model, layer = _BERTSCORE
        if _last_part(bertscore_model) != model or bertscore_layer != layer:
            return f"BERTScore is by {_by(bertscore_model, bertscore_layer)}, the paper's by layer {layer} of {model}"
    if metric == "bleurt" and _last_part(bleurt_model) != _BLEURT.lower():
        return f"BLEURT is by {_by(bleurt_model)}, the paper's by {_BLEURT}"
    return None


def _last_part(name: str | None) -> str:
    return (name or "").rstrip("/").rsplit("/", 1)[-1].lower()


def _by(model: str | None, layer: int | None = None) -> str:
    if not model:
        return "no model"
    return model if layer is None else f"layer {layer} of {model}"
