"""What answering will take, before anything is answered: rows, tokens, time, money.

In: the samples, the model's tokenizer and its shape, the speed of this node. Out: lines for a person.

Rows are counted in the files' footers. Prompts are tokenized for at most 256 rows of each (setting, task), spread
evenly over it, and scaled. Answers are taken to be as long as they may be; speed.py makes time of all this. Tokens and
time are upper bounds of the work: rows whose prompts begin alike share its computation, and most answers end early.
Loading the model is not counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from ecellm.config import PredictConfig
from ecellm.dataset import segments
from ecellm.dataset.partitions import Partition
from ecellm.errors import InputError
from ecellm.inference.answer_lengths import answer_limits
from ecellm.inference.asking import ASKED_COLUMNS, AnswerSpaceOf, Asking, asked_partitions
from ecellm.inference.progress import duration_text
from ecellm.inference.speed import ActorTime, cpu_speed, gpu_speed, shape_of
from ecellm.inference.totals import Totals, bill, money_text
from ecellm.models import load_model_config, locate
from ecellm.prompts.tokenization import PromptTokenizer
from ecellm.storage import Storage

_MOST_LOOKED_AT = 256
_CHARACTERS_PER_TOKEN = 4  # of English text, roughly
_ROWS_OF_A_BATCH = 256
# vLLM's own limit on most devices, where the config gives none.
_SEQUENCES_OF_VLLM = 256


@dataclass(frozen=True)
class SplitForecast:
    """One (setting, task); numbers are those of all adapters together.

    Attributes:
        setting: its setting.
        task: its task.
        num_rows: rows to answer.
        num_prompt_tokens: tokens of their prompts.
        num_answer_tokens: most tokens of their answers.
        num_looked_at: rows whose prompts were made, each once.
        num_shortened: those of them whose prompts are shortened to fit max_length.
        num_too_long: those of them that cannot be made to fit, and have no answer.
        is_exact: whether num_prompt_tokens was counted over all rows.
    """

    setting: str
    task: str
    num_rows: int
    num_prompt_tokens: int
    num_answer_tokens: int
    num_looked_at: int
    num_shortened: int
    num_too_long: int
    is_exact: bool


@dataclass(frozen=True)
class Forecast:
    """What answering will take.

    Attributes:
        splits: every (setting, task), in the order in which they are answered.
        num_shards: units of work, so many actors have something to do.
        has_tokenizer: whether tokens were counted; else they are estimated from characters.
        actor_time: None where it is not known.
    """

    splits: tuple[SplitForecast, ...]
    num_shards: int
    has_tokenizer: bool
    actor_time: ActorTime | None

    @property
    def total(self) -> SplitForecast:
        """All splits together."""
        return _sum(self.splits)


def _sum(splits: Sequence[SplitForecast]) -> SplitForecast:
    names = [field.name for field in fields(SplitForecast) if field.name.startswith("num_")]
    numbers = {name: sum(getattr(split, name) for split in splits) for name in names}
    return SplitForecast("total", "", **numbers, is_exact=all(split.is_exact for split in splits))


def forecast(
    config: PredictConfig, storage: Storage, answer_space: AnswerSpaceOf, tokenizer: PromptTokenizer | None
) -> Forecast:
    """Look at samples and model; runs on a node, as a task, with a GPU where the actors have one.

    Args:
        config: the job's config.
        storage: access to the samples and the model.
        answer_space: tells what the answer to a samples row may be.
        tokenizer: of the model that answers; None where it is not known.

    Raises:
        InputError: samples or model are not there.
    """
    reader = _Reader(storage, Asking(config, tokenizer, answer_space, answer_limits(config, storage, tokenizer)))
    splits = tuple(reader.split(*partition) for partition in asked_partitions(config, storage).items())
    per_shard, num_adapters = config.rows_of_a_shard, len(config.all_adapters)
    num_shards = sum(-(-(split.num_rows // num_adapters) // per_shard) * num_adapters for split in splits)
    return Forecast(splits, num_shards, tokenizer is not None, _actor_time(config, storage, splits))


class _Reader:
    """Makes the prompts of some rows of each (setting, task)."""

    def __init__(self, storage: Storage, asking: Asking) -> None:
        self._storage = storage
        self._asking = asking
        self._config = asking.config

    def split(self, partition: Partition, files: Sequence[str]) -> SplitForecast:
        """Count the rows of one (setting, task), and look at some of them."""
        everything = segments.cut(self._storage, files, 1 << 62, self._config.limit, ASKED_COLUMNS)
        piece = everything[0] if everything else []
        num_rows = segments.num_rows(piece)
        places = _spread(num_rows, _MOST_LOOKED_AT)
        lengths: list[int] = []
        most: list[int] = []
        num_shortened = num_too_long = 0
        for row in _rows_at(self._storage, piece, places):
            length, was_shortened, answer_length = self._look_at(row)
            num_shortened += was_shortened
            num_too_long += length is None
            lengths.append(length or 0)
            most.append(answer_length)
        is_all = len(places) == num_rows
        scale = len(self._config.all_adapters) * num_rows / max(1, len(places))
        return SplitForecast(
            partition.setting,
            partition.task,
            num_rows=num_rows * len(self._config.all_adapters),
            num_prompt_tokens=round(scale * sum(lengths)),
            # Rows that were not looked at may all have the longest answer.
            num_answer_tokens=round(scale * (sum(most) if is_all else len(places) * max(most))),
            num_looked_at=len(places),
            num_shortened=num_shortened,
            num_too_long=num_too_long,
            is_exact=is_all and self._asking.tokenizer is not None,
        )

    def _look_at(self, row: dict[str, Any]) -> tuple[int | None, bool, int]:
        """Return tokens of a row's prompt (None if it has none), whether it is shortened, most tokens of its answer."""
        try:
            length, was_shortened = self._prompt_length(row)
            return length, was_shortened, 0 if length is None else self._answer_length(row)
        except InputError:
            raise
        except Exception:  # noqa: BLE001  a foreign row that cannot be asked will fail by itself
            return None, False, 0

    def _prompt_length(self, row: dict[str, Any]) -> tuple[int | None, bool]:
        """Return the tokens of a row's prompt, None if it cannot fit, and whether it was shortened."""
        prompt = self._asking.prompt(row)
        if prompt is None:
            return None, False
        if self._asking.tokenizer is None:
            return -(-len(prompt.text) // _CHARACTERS_PER_TOKEN), False
        return len(prompt.ids), prompt.was_shortened

    def _answer_length(self, row: dict[str, Any]) -> int:
        """Return the most tokens that are written for a row."""
        config, space = self._config, self._asking.answer_space(row)
        # Choices are compared by the model itself; an endpoint writes its answer whatever the decoding.
        if config.decoding == "choice" and config.has_local_model and space.choices:
            return 0
        reasoning = config.openai.reasoning_tokens if config.engine == "openai" else 0
        return self._asking.max_new_tokens(row, space) + reasoning


def _spread(number: int, most: int) -> list[int]:
    """Return at most `most` places among `number`, evenly spread, in order."""
    chosen = min(number, most)
    return [(2 * place + 1) * number // (2 * chosen) for place in range(chosen)]


def _rows_at(storage: Storage, piece: Sequence[segments.Segment], places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the rows at sorted places of a piece; row groups that hold none are not read, others batch by batch."""
    before = 0
    for path, start, end in piece:
        # Places in the file; `before` rows of the piece lie in front of it.
        wanted = [place - before + start for place in places if before <= place < before + end - start]
        before += end - start
        if wanted:
            with storage.parquet_file(path) as file:
                yield from _rows_of_file(file, wanted)


def _rows_of_file(file: Any, wanted: Sequence[int]) -> Iterator[dict[str, Any]]:
    first = 0
    for group in range(file.num_row_groups):
        stop = first + file.metadata.row_group(group).num_rows
        if any(first <= place < stop for place in wanted):
            for batch in file.iter_batches(_ROWS_OF_A_BATCH, row_groups=[group]):
                here = [place - first for place in wanted if first <= place < first + batch.num_rows]
                yield from batch.take(pa.array(here, pa.int64())).to_pylist()
                first += batch.num_rows
        first = stop


def _actor_time(config: PredictConfig, storage: Storage, splits: Sequence[SplitForecast]) -> ActorTime | None:
    """Return what all rows take one actor on such a node; None without a model here, and where its GPU is not known."""
    if not config.has_local_model:
        return None
    speed = gpu_speed(config) if config.use_gpu else cpu_speed(config)
    if speed is None:
        return None
    from ecellm.model_loading import empty_model

    trusted = config.trust_remote_code
    model_config = load_model_config(locate(config.model), config.model_revision, storage, trust_remote_code=trusted)
    at_once = (config.vllm.max_num_seqs or _SEQUENCES_OF_VLLM) if config.engine == "vllm" else config.max_batch_size
    work = _sum(splits)
    return speed.time(
        shape_of(empty_model(model_config, trust_remote_code=trusted)),
        num_rows=work.num_rows,
        num_prompt_tokens=work.num_prompt_tokens,
        num_answer_tokens=work.num_answer_tokens,
        at_once=at_once,
    )


def describe(found: Forecast, config: PredictConfig, num_actors: int | None = None) -> tuple[str, ...]:
    """Return the forecast as lines to show.

    Args:
        found: the forecast.
        config: the job's config.
        num_actors: actors that the cluster has room for; None where that is not known. `config.num_actors` goes first.
    """
    actors = config.num_actors or num_actors
    actors = None if actors is None else max(1, min(actors, found.num_shards))
    return (*_table(found), *_notes(found, config), *_time_lines(found, config, actors), *_price_lines(found, config))


def _table(found: Forecast) -> Iterator[str]:
    """Yield an aligned table of the splits and their sum."""
    rows = [("setting", "task", "rows", "prompt tokens", "answer tokens at most")]
    for split in (*found.splits, found.total):
        prompts = f"{'' if split.is_exact else 'about '}{split.num_prompt_tokens:,}"
        rows.append((split.setting, split.task, f"{split.num_rows:,}", prompts, f"{split.num_answer_tokens:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        names = (text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True))
        numbers = (text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True))
        yield "  ".join([*names, *numbers])


def _notes(found: Forecast, config: PredictConfig) -> Iterator[str]:
    """Yield what the numbers rest on, and what was found on the way."""
    if not found.has_tokenizer:
        yield (
            f"prompt tokens: characters / {_CHARACTERS_PER_TOKEN}, since engine={config.engine} has no tokenizer here"
            + ("; openai.tokenizer=MODEL has them counted" if config.engine == "openai" else "")
        )
    if any(split.num_looked_at * len(config.all_adapters) < split.num_rows for split in found.splits):
        yield f"prompt tokens: scaled from at most {_MOST_LOOKED_AT} rows of each (setting, task), spread over it"
    for split in found.splits:
        name, among = f"{split.setting} {split.task}", f"of {split.num_looked_at:,} rows looked at"
        if split.num_shortened:
            yield f"{name}: {split.num_shortened:,} {among} will be shortened to fit max_length={config.max_length}"
        if split.num_too_long:
            limit = f"max_length={config.max_length}"
            yield f"{name}: {split.num_too_long:,} {among} do not fit {limit}, or cannot be asked: they will fail"


def _time_lines(found: Forecast, config: PredictConfig, actors: int | None) -> Iterator[str]:
    if config.engine == "fake":
        yield "time: engine=fake asks no model"
    elif config.engine == "openai":
        each = "each actor" if actors is None else f"each of {_actors_text(actors)}"
        yield f"time: not known; {each} has openai.concurrency={config.openai.concurrency} requests under way at most"
    elif found.actor_time is None:
        yield "time: not known; this node has no GPU whose peak FLOP/s are known"
    else:
        yield _time_line(found.actor_time, actors)
        yield f"speed: taken as {found.actor_time.basis}"


def _time_line(taken: ActorTime, actors: int | None) -> str:
    def text(seconds: float) -> str:
        return duration_text(seconds / (actors or 1))

    where = "of one actor, divided by as many as there is room for" if actors is None else f"on {_actors_text(actors)}"
    return (
        f"time: about {text(taken.seconds)} {where} (prompts {text(taken.prompt_seconds)}, answers as long as they may "
        f"be {text(taken.answer_seconds)}), loading the model not counted; prompts that begin alike take less"
    )


def _actors_text(number: int) -> str:
    return "1 actor" if number == 1 else f"{number:,} actors"


def _price_lines(found: Forecast, config: PredictConfig) -> Iterator[str]:
    price, taken = config.price, found.actor_time
    if not price.is_given:
        return
    # The bill of a run that takes just what is forecast.
    total, seconds = found.total, 0.0 if taken is None else taken.seconds
    most = Totals({}, total.num_prompt_tokens, total.num_answer_tokens, seconds)
    amount = bill(most, price)
    assert amount is not None
    is_exact = total.is_exact and not price.per_actor_hour
    known = [f"at most {'' if is_exact else 'about '}{money_text(amount, price)}"] if amount else []
    if price.per_actor_hour and taken is None:
        known.append(f"{money_text(price.per_actor_hour, price)} for each actor-hour, how many is not known")
    yield f"price: {', and '.join(known)}"
