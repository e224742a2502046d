"""The two tasks of AmazonQA: one pass over each split's file gives the examples of both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from ecellm.dataset.builders.flow import Context, Flow, Result, Step
from ecellm.dataset.builders.plan import Builder, Built, Plan
from ecellm.dataset.builders.ranked import RankedSet, RankedWriter, given_split, sort_sets
from ecellm.errors import InputError
from ecellm.settings import SPLITS
from ecellm.sources.amazon_qa import Question, files_by_split
from ecellm.sources.records import Quarantine, RecordDecoder, iter_records, look_at_records
from ecellm.storage import Storage, join
from ecellm.tasks import answer_generation, answerability_prediction
from ecellm.tasks.example import Example

SOURCE = "amazon_qa"
AP, AG = answerability_prediction.TASK, answer_generation.TASK
_DESCRIPTIVE = "descriptive"
_MOST_CATEGORIES = 1000  # that are noted of a file: Amazon has some thirty


def stage_questions(
    context: Context, *, split: str, file: str, domains: Mapping[str, Mapping[str, str]], number: int
) -> Result:
    """Step: make the examples of one file's questions and send them to the buckets of their ranks.

    Args:
        context: of the build.
        split: of the file.
        file: its path.
        domains: the domain of each category that a task takes, by task.
        number: of buckets.

    Returns:
        `rows`, `examples` ([task, category, rows]), `categories` (lines by category), `dropped`, `quarantined`.
    """
    quarantine = Quarantine(context.storage, context.quarantine(f"questions-{split}"), file)
    dropped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    with ExitStack() as stack:
        writers = {
            (task, domain): stack.enter_context(
                RankedWriter(context, _set_name(task, domain, split), "questions", task=task, number=number)
            )
            for task, own in domains.items()
            for domain in sorted(set(own.values()))
            if domain == "IND" or split == "test"
        }
        for line, question in iter_records(context.storage, file, RecordDecoder(Question), quarantine):
            category = question.category or ""
            seen[category] += 1
            for task, own in domains.items():
                domain = own.get(category)
                if domain is None:
                    dropped[f"question of another category, for {task}"] += 1
                    continue
                writer = writers.get((task, domain))
                if writer is None:
                    dropped[f"{split} question of an out-of-domain category, for {task}"] += 1
                    continue
                example, reason = example_of(task, question)
                if example is None:
                    dropped[f"{reason}, for {task}"] += 1
                    continue
                writer.add(example, line, category)
                rows[task, category] += 1
    return {
        "rows": rows.total(),
        "examples": [[*key, count] for key, count in rows.items()],
        "categories": dict(seen.most_common(_MOST_CATEGORIES)),
        "dropped": dropped,
        "quarantined": {file: quarantine.num_rows},
    }


def example_of(task: str, question: Question) -> tuple[Example | None, str]:
    """Return the example that a question gives for a task, or None and the reason why it gives none."""
    if question.questionText is None or question.review_snippets is None or question.is_answerable is None:
        return None, "question without text, reviews or is_answerable"
    text, is_answerable = question.questionText, bool(question.is_answerable)
    snippets = [snippet for snippet in question.review_snippets if snippet is not None]
    ids = (question.asin or "", f"question {question.qid}")
    if task == AP.name:
        example = answerability_prediction.make_example(text, snippets, is_answerable=is_answerable, source_ids=ids)
        return example, ""
    if question.questionType != _DESCRIPTIVE or not is_answerable:
        return None, "question that is not descriptive or not answerable"
    votes = [(answer.answerText or "", _helpful(answer.helpful)) for answer in question.answers or []]
    answer = answer_generation.most_helpful(votes)
    if answer is None:
        return None, "question without an answer that has helpful votes"
    return answer_generation.make_example(text, snippets, answer, ids), ""


def _helpful(votes: Sequence[int] | None) -> int:
    return votes[0] if votes else 0


def _set_name(task: str, domain: str, split: str) -> str:
    return join(task, domain, split)


def build(plans: Mapping[str, Plan]) -> Flow[Built]:
    """Flow: read the three files, sort by rank."""
    plan = next(iter(plans.values()))
    storage = plan.context.storage
    built = Built()
    files = files_by_split(storage, plan.context.raw_dir)
    number = plan.num_buckets(list(files.values()))
    domains = {task: {name: domain for domain, name in own.by_domain} for task, own in plans.items()}
    staged = yield [
        Step(
            f"questions/{split}",
            stage_questions,
            {"split": split, "file": file, "domains": domains, "number": number},
            cost=storage.size(file),
        )
        for split, file in files.items()
    ]
    built.count(staged)
    _check_categories(domains, staged, list(files.values()))
    built.notes += _notes_on_categories(domains, staged)
    keys = [
        (task, domain, split)
        for task, own in domains.items()
        for domain in sorted(set(own.values()))
        for split in (SPLITS if domain == "IND" else ("test",))
    ]
    sets = yield from sort_sets([_set_name(*key) for key in keys], number)
    built.sets = [
        RankedSet(task, domain, None, given_split(split), sets[_set_name(task, domain, split)], SOURCE)
        for task, domain, split in keys
    ]
    return built


def _check_categories(domains: Mapping[str, Mapping[str, str]], staged: Sequence[Result], files: Sequence[str]) -> None:
    """Raise `InputError` if a category that a task asks for is in no line: it is mistyped, or the file is another."""
    seen = {name for result in staged for name in result["categories"]}
    for task, own in domains.items():
        missing = [name for name in own if name not in seen]
        if missing:
            there = ", ".join(sorted(filter(None, seen))) or "no categories"
            raise InputError(
                f"{task}: no question of {', '.join(files)} is of category {', '.join(missing)}; they have {there}. "
                "Name some of these under categories, or leave the task out"
            )


def _notes_on_categories(domains: Mapping[str, Mapping[str, str]], staged: Sequence[Result]) -> list[str]:
    with_rows = {(task, category) for result in staged for task, category, _ in result["examples"]}
    return [
        f"{task}: category {category} gives no row"
        for task, own in domains.items()
        for category in own
        if (task, category) not in with_rows
    ]


def _files(storage: Storage, raw_dir: str, _categories: Sequence[str]) -> list[str]:
    return list(files_by_split(storage, raw_dir).values())


def _look(storage: Storage, raw_dir: str, categories: Sequence[str]) -> None:
    for file in _files(storage, raw_dir, categories):
        look_at_records(storage, file, RecordDecoder(Question))


BUILDER = Builder((AP.name, AG.name), SOURCE, has_categories=True, files=_files, look=_look, flow=build)
