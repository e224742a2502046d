"""The samples that the report shows one by one: which ones, and how they are packed into the page.

The page holds some `MAX_ANSWERS` answers. Where there are more, each (setting, task) gives its share, half of it the
worst samples and half evenly spread over the rest. A sample's texts are packed once, whichever runs answered it, and
texts that repeat (instructions, options) once for a block. A block is JSON, gzip, base64: nothing in it can end the
element that holds it, and the browser unpacks it when it is first looked at.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.contract import conform
from ecellm.evaluation.report.runs import PlaceFiles
from ecellm.evaluation.report.scan import Judged, Judgement, RunScan, read_answers, read_score_groups
from ecellm.schema import SAMPLES
from ecellm.storage import Storage

MAX_ANSWERS = 25_000
_MOST_CHARACTERS = 10_000  # of one text
_COMPRESSION = 6
_SHARED = {"instruction": "instruction", "options": "options", "few_shot_example": "example"}
_OWN = {"sample_id": "id", "split": "split", "row_index": "index", "category": "category"}
_LONG = {"input": "input", "output": "reference"}


@dataclass(frozen=True)
class SampleBlock:
    """The packed samples of one (setting, task): how many, with how many answers of all runs."""

    setting: str
    task: str
    num_samples: int
    num_answers: int
    packed: str


def share_out(counts: Sequence[int], total: int) -> list[int]:
    """Return how many of each count fit into `total`: all of the small ones, and equal shares of the others."""
    shares = [0] * len(counts)
    left, remaining = total, len(counts)
    for place in sorted(range(len(counts)), key=lambda place: counts[place]):
        shares[place] = min(counts[place], left // remaining)
        left -= shares[place]
        remaining -= 1
    return shares


def choose(order: Sequence[str], badness: Mapping[str, Any], most: int) -> list[str]:
    """Return at most `most` samples, in their order: the worst half, and an even spread of the others.

    Args:
        order: all samples in order.
        badness: sort key of each, the worst first.
        most: how many.
    """
    if len(order) <= most:
        return list(order)
    ranked = sorted(order, key=lambda sample_id: badness[sample_id])
    chosen = set(ranked[: most // 2])
    rest = [sample_id for sample_id in order if sample_id not in chosen]
    spread = np.linspace(0, len(rest) - 1, most - len(chosen)).round().astype(int)
    chosen.update(rest[place] for place in spread)
    return [sample_id for sample_id in order if sample_id in chosen]


def choose_samples(
    storage: Storage, place: PlaceFiles, scans: Mapping[int, RunScan], most_answers: int, main_run: int
) -> list[str]:
    """Return the samples of one (setting, task) that the page shows.

    Args:
        storage: access to the predictions.
        place: the files.
        scans: of each run.
        most_answers: of all runs together.
        main_run: the run whose mistakes come first.
    """
    order: dict[str, tuple[str, int]] = {}
    for files in place.predictions.values():
        for row in read_answers(storage, files):
            order.setdefault(row["sample_id"], (row["split"] or "", row["row_index"] or 0))
    best = Judged(Judgement.UNJUDGED, 2.0)  # of an answer that is not there
    ranking = sorted(scans, key=lambda run: run != main_run)
    badness = {sample_id: tuple(scans[run].judged.get(sample_id, best).score for run in ranking) for sample_id in order}
    # As many samples as hold that many answers on average: not every run has answered all of them.
    most = len(order) * most_answers // max(1, place.num_answers)
    return choose(sorted(order, key=lambda key: order[key]), badness, most)


def make_block(storage: Storage, place: PlaceFiles, scans: Mapping[int, RunScan], chosen: Sequence[str]) -> SampleBlock:
    """Return the packed samples of one (setting, task), with all that the runs answered.

    Columns are lists with an entry for each sample, in the order of `chosen`; the page's script reads them.
    """
    samples = {row["sample_id"]: row for row in _read_samples(storage, place, chosen)}
    texts: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in (*_OWN.values(), *_LONG.values(), *_SHARED.values())}
    for sample_id in chosen:
        row = samples[sample_id]
        for source, name in _OWN.items():
            columns[name].append(row.get(source))
        for source, name in _LONG.items():
            columns[name].append(cut(row.get(source)))
        for source, name in _SHARED.items():
            text = cut(row.get(source))
            columns[name].append(None if text is None else texts.setdefault(text, len(texts)))
    runs = {run: _run_columns(storage, place, run, scan, chosen) for run, scan in scans.items()}
    num_answers = sum(answer is not None for own in runs.values() for answer in own["answer"])
    packed = pack({"texts": list(texts), "samples": columns, "runs": runs})
    return SampleBlock(place.setting, place.task, len(chosen), num_answers, packed)


def _read_samples(storage: Storage, place: PlaceFiles, chosen: Sequence[str]) -> Iterable[dict[str, Any]]:
    wanted = pa.array(chosen, pa.string())
    columns = (*_OWN, *_LONG, *_SHARED)
    for path in (path for _, files in sorted(place.samples.items()) for path in files):
        with storage.parquet_file(path) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=1024, columns=there):
                table = conform(pa.Table.from_batches([batch]), SAMPLES, path, ())
                yield from table.filter(pc.is_in(table["sample_id"], value_set=wanted)).to_pylist()


def _run_columns(
    storage: Storage, place: PlaceFiles, run: int, scan: RunScan, chosen: Sequence[str]
) -> dict[str, list[Any]]:
    """Return what one run answered; None for samples that it did not."""
    at = {sample_id: number for number, sample_id in enumerate(chosen)}
    names = ("answer", "finish", "shortened", "tokens", "verdict", "why", "score", "parsed", "values")
    columns: dict[str, list[Any]] = {name: [None] * len(chosen) for name in names}
    for row in read_answers(storage, place.predictions[run]):
        if (number := at.get(row["sample_id"])) is not None:
            judged = scan.judged.get(row["sample_id"], Judged(Judgement.UNJUDGED, 0.0))
            columns["answer"][number] = cut(row["response"] or "")
            columns["finish"][number] = row["finish_reason"]
            columns["shortened"][number] = row["was_shortened"] or None
            columns["tokens"][number] = [row["num_prompt_tokens"], row["num_completion_tokens"]]
            columns["verdict"][number] = judged.judgement.value
            columns["why"][number] = scan.why.get(row["sample_id"])
            columns["score"][number] = round(judged.score, 4)
    for group in read_score_groups(storage, place.scores.get(run, ())):
        if (number := at.get(group.sample_id)) is not None:
            by_flavour = columns["values"][number] or {}
            known = {name: value for name, value in group.values.items() if value is not None}
            by_flavour[group.flavour] = {name: round(value, 4) for name, value in known.items()}
            columns["values"][number] = by_flavour
            if group.parsed is not None and group.parsed != columns["answer"][number]:
                parsed = columns["parsed"][number] or {}
                columns["parsed"][number] = parsed | {group.flavour: cut(group.parsed)}
    return columns


def cut(text: str | None) -> str | None:
    """Return a text, of a very long one the beginning and how much more there is."""
    if text is None or len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}\n… {len(text) - _MOST_CHARACTERS:,} more characters are in the Parquet files"


def pack(value: Any) -> str:
    """Return a value as JSON, gzip, base64; the same bytes for the same value."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), _COMPRESSION, mtime=0)).decode("ascii")
