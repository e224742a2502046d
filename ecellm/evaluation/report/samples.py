"""The samples that the report shows one by one: which ones, and how they are packed into the page.

The page holds some `MAX_ANSWERS` answers. Where there are more, each (setting, task) gives its share, half of it the
worst samples and half evenly spread over the rest. A sample's texts are packed once, whichever runs answered it, and
texts that repeat (instructions, options) once for a block. A block is JSON, gzip, base64: nothing in it can end the
element that holds it, and the browser unpacks it when it is first looked at.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ecellm.contract import conform, plain_type
from ecellm.dataset.hashing import UIntArray, keys_of_texts
from ecellm.evaluation.report.runs import PlaceFiles
from ecellm.evaluation.report.scan import RunScan, read_answers, read_score_groups
from ecellm.evaluation.scored_rows import keys_of
from ecellm.schema import PREDICTIONS, SAMPLES
from ecellm.storage import Storage

Places = npt.NDArray[np.int64]
MAX_ANSWERS = 25_000
_BATCH_ROWS = 4096
_BEST = 2.0  # of an answer that is not there: better than any score
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


def choose(badness: npt.NDArray[Any], most: int) -> Places:
    """Return the places of at most `most` samples, in order: the worst half, and an even spread of the others.

    Args:
        badness: [num_samples, num_keys], sort keys of each sample in order, the worst first.
        most: how many.
    """
    num_samples = len(badness)
    if num_samples <= most:
        return np.arange(num_samples)
    ranked = np.lexsort(badness.T[::-1])  # stable; the last key of lexsort counts first
    is_chosen = np.zeros(num_samples, bool)
    is_chosen[ranked[: most // 2]] = True
    rest = np.flatnonzero(~is_chosen)
    spread = np.linspace(0, len(rest) - 1, most - most // 2).round().astype(int)
    is_chosen[rest[spread]] = True
    return np.flatnonzero(is_chosen)


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
    keys = _keys_in_order(storage, place)
    ranking = sorted(scans, key=lambda run: run != main_run)
    badness = [scans[run].verdicts.scores(keys, absent=_BEST) for run in ranking]
    # As many samples as hold that many answers on average: not every run has answered all of them.
    most = len(keys) * most_answers // max(1, place.num_answers)
    return _ids_of(storage, place, keys[choose(np.column_stack(badness), most)])


def _keys_in_order(storage: Storage, place: PlaceFiles) -> UIntArray:
    """Return the keys of all samples that any run answered, by split and row_index: uint64 [num_samples]."""
    keys, splits, indices = [np.zeros(0, np.uint64)], [np.zeros(0, object)], [np.zeros(0, np.int64)]
    for files in place.predictions.values():
        for batch in _batches(storage, files, ("sample_id", "split", "row_index")):
            keys.append(keys_of_texts(batch["sample_id"]))
            splits.append(np.array(batch["split"].to_pylist(), object))
            indices.append(batch["row_index"].fill_null(0).to_numpy())
    distinct, first = np.unique(np.concatenate(keys), return_index=True)
    split_of = np.concatenate(splits)[first]
    code_of = {name: code for code, name in enumerate(sorted({split or "" for split in split_of.tolist()}))}
    codes = np.array([code_of[split or ""] for split in split_of.tolist()], np.int8)
    return distinct[np.lexsort((np.concatenate(indices)[first], codes))]


def _ids_of(storage: Storage, place: PlaceFiles, keys: UIntArray) -> list[str]:
    """Return the samples that have the keys, in their order."""
    id_of: dict[int, str] = {}
    for files in place.predictions.values():
        for batch in _batches(storage, files, ("sample_id",)):
            own = keys_of_texts(batch["sample_id"])
            hits = np.flatnonzero(np.isin(own, keys))
            id_of.update(zip(own[hits].tolist(), batch["sample_id"].take(pa.array(hits)).to_pylist(), strict=True))
    return [id_of[key] for key in keys.tolist()]


def _batches(storage: Storage, files: Sequence[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of the predictions, null where a file lacks them."""
    for path in files:
        with storage.parquet_file(path) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=there):
                table = pa.Table.from_batches([batch])
                for name in columns:
                    kind = plain_type(PREDICTIONS, name)
                    column = table[name].cast(kind) if name in there else pa.nulls(len(batch), kind)
                    table = table.drop_columns([name] if name in there else []).append_column(name, column)
                yield table.select(columns).combine_chunks().to_batches()[0]


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
    verdict_at = scan.verdicts.places(keys_of(chosen)).tolist()
    for row in read_answers(storage, place.predictions[run]):
        if (number := at.get(row["sample_id"])) is not None:
            judged = scan.verdicts.judged(verdict_at[number])
            columns["answer"][number] = cut(row["response"] or "")
            columns["finish"][number] = row["finish_reason"]
            columns["shortened"][number] = row["was_shortened"] or None
            columns["tokens"][number] = [row["num_prompt_tokens"], row["num_completion_tokens"]]
            columns["verdict"][number] = judged.judgement.value
            columns["why"][number] = scan.verdicts.reason(verdict_at[number])
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
