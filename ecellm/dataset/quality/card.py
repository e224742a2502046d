"""The dataset card: README.md beside the data, in the format of the Hugging Face hub, from the quality report."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from ecellm.dataset.partitions import Partition
from ecellm.dataset.quality import report
from ecellm.dataset.quality.near_duplicates import SIMILARITY
from ecellm.dataset.quality.report import Row
from ecellm.dataset.selection import SplitKey

_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip
_MOST_ANSWERS = 8
_SHOWN_CHARACTERS = 40


def render_card(
    *,
    name: str,
    rows: Sequence[Row],
    counts: Mapping[Partition, int],
    notes: Sequence[str],
    config: Mapping[str, Any],
    recipe: str,
) -> str:
    """Return the card's text.

    Args:
        name: what the data set is called.
        rows: the quality report.
        counts: samples of each partition.
        notes: what a reader should know about this build.
        config: leakage, near_duplicate_rows, seed, categories (text).
        recipe: the command that made it.
    """
    import jinja2  # a third of a second to load, and only the last step of a build renders

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701  Markdown
    template = environment.from_string(_resource("ecellm.dataset.quality", "card.md"))
    tasks = sorted({partition.task for partition in counts})
    num_rows = sum(counts.values())
    return template.render(
        name=name,
        num_rows=f"{num_rows:,}",
        size_category=next((label for limit, label in _SIZES if num_rows < limit), "1B<n<10B"),
        tasks=tasks,
        settings=_settings(counts),
        has_shots=any("1-shot" in partition.setting for partition in counts),
        counts=_count_rows(counts, tasks),
        notes=notes,
        similarity=f"{SIMILARITY:.0%}",
        near_rows=f"{config['near_duplicate_rows']:,}",
        recipe=recipe,
        **{key: config[key] for key in ("leakage", "seed", "categories")},
        **_quality_tables(rows),
        cards=[{"task": task, **_cards()[task]} for task in tasks],
    )


def _resource(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _cards() -> dict[str, dict[str, str]]:
    cards: dict[str, dict[str, str]] = yaml.safe_load(_resource("ecellm.tasks", "cards.yaml"))
    return cards


def _settings(counts: Mapping[Partition, int]) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = defaultdict(list)
    for partition in sorted(counts):
        if partition.split not in settings[partition.setting]:
            settings[partition.setting].append(partition.split)
    return dict(settings)


def _count_rows(counts: Mapping[Partition, int], tasks: Sequence[str]) -> list[dict[str, str]]:
    def of(domain: str, split: str, task: str) -> str:
        rows = counts.get(Partition(f"{domain}_Diverse_Instruction", split, task))
        return f"{rows:,}" if rows else "-"

    return [
        {
            "task": task,
            "train": of("IND", "train", task),
            "val": of("IND", "val", task),
            "ind": of("IND", "test", task),
            "ood": of("OOD", "test", task),
        }
        for task in tasks
    ]


def _quality_tables(rows: Sequence[Row]) -> dict[str, Any]:
    by_check: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_check[row["check"]].append(row)
    keys = [SplitKey(row["task"], row["domain"], row["split"]) for row in by_check[report.EXAMPLES]]
    unreadable = _total(by_check[report.QUARANTINED])
    return {
        "quarantined": f"{unreadable:,}" if unreadable else None,
        "left_out": [
            {"task": row["task"], "reason": row["detail"], "rows": f"{row['value']:,.0f}"}
            for row in by_check[report.LEFT_OUT]
        ],
        "duplicates": [_duplicate_row(key, by_check) for key in keys],
        "leaks": [_leak_row(key, by_check) for key in keys if key.split == "test"],
        "kept": [
            {"task": row["task"], "reason": row["detail"], "rows": f"{row['value']:,.0f}"}
            for row in by_check[report.KEPT]
        ],
        "domains": [
            {
                "task": row["task"],
                "value": f"{row['value']:,.0f}",
                "names": f" ({row['detail']})" if row["detail"] else "",
            }
            for row in by_check[report.IN_BOTH_DOMAINS]
        ],
        "unseen": f"{_total(by_check[report.UNSEEN]):,}",
        "answers": _answer_rows(by_check[report.ANSWER]),
        "lengths": [_length_row(key, by_check[report.LENGTH]) for key in keys],
    }


def _total(rows: Sequence[Row]) -> int:
    return int(sum(row["value"] for row in rows))


def _is_of(row: Row, key: SplitKey) -> bool:
    return (row["task"], row["domain"], row["split"]) == key


def _figures(rows: Sequence[Row], key: SplitKey) -> str:
    """Return what the rows of a split add up to, with its share."""
    own = [row for row in rows if _is_of(row, key)]
    if not own:
        return "-"
    return _with_share(_total(own), sum(row["share"] or 0.0 for row in own))


def _with_share(value: float, share: float | None) -> str:
    return f"{value:,.0f} ({share:.1%})" if value and share is not None else f"{value:,.0f}"


def _duplicate_row(key: SplitKey, by_check: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    return {
        "task": key.task,
        "split": report.describe(key),
        "within": _figures(by_check[report.REPEATED], key),
        # Noted with the first split of each pair.
        "across": "; ".join(
            f"{row['detail']}: {_with_share(row['value'], row['share'])}"
            for row in by_check[report.SHARED]
            if _is_of(row, key)
        )
        or "0",
        "near": _figures(by_check[report.NEAR_WITHIN], key),
        "near_train": _figures(by_check[report.NEAR_TRAIN], key),
    }


def _leak_row(key: SplitKey, by_check: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    leaks = [row for row in by_check[report.LEAK] if row["task"] == key.task and row["detail"] == report.describe(key)]
    shared = {row["detail"]: row for row in by_check[report.SHARED_IDS] if _is_of(row, key)}
    return {
        "task": key.task,
        "test": report.describe(key),
        "rows": _with_share(_total(leaks), sum(row["share"] or 0.0 for row in leaks)) if leaks else "-",
        **{kind: f"{shared[kind]['share']:.1%}" if kind in shared else "-" for kind in ("product", "user", "query")},
    }


def _answer_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["split"] == "train":
            by_task[row["task"]].append(row)
    result = []
    for task, own in sorted(by_task.items()):
        first = sorted(own, key=lambda row: (-row["value"], row["detail"]))[:_MOST_ANSWERS]
        shown = [f"{_cut(row['detail'])} {row['share']:.1%}" for row in first]
        more = [f"{len(own) - len(first)} more"] if len(own) > len(first) else []
        result.append({"task": task, "answers": "; ".join([*shown, *more])})
    return result


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _length_row(key: SplitKey, rows: Sequence[Row]) -> dict[str, str]:
    figures = {row["detail"]: f"{row['value']:,.0f}" for row in rows if _is_of(row, key)}
    return {"task": key.task, "split": report.describe(key), **figures}
