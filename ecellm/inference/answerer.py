"""One actor of predict: an engine loaded once, which answers one piece of the samples after the other."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from hashlib import sha256
from typing import Any

import pyarrow as pa

from ecellm.config import PredictConfig
from ecellm.dataset import segments
from ecellm.errors import InputError
from ecellm.inference.asking import AnswerSpaceOf, Asking
from ecellm.inference.engines.load import load_engine, prompt_tokenizer
from ecellm.inference.journal import Journal
from ecellm.inference.request import Answer, Failure, Request
from ecellm.inference.suspects import Suspects
from ecellm.inference.totals import seconds_of, with_seconds
from ecellm.prompts.tokenization import TokenizedPrompt
from ecellm.schema import PREDICTION_ERRORS, PREDICTIONS
from ecellm.storage import Storage, join

logger = logging.getLogger(__name__)
_KEYS = ("sample_id", "example_id", "task", "split", "setting", "row_index")
_COLUMNS = [*_KEYS, "instruction", "input", "options", "few_shot_example", "relevance"]
_MOST_FAILED_IN_A_ROW = 8  # rows, each by itself, without an answer between them
_JOURNAL_SECONDS = 2.0  # between writes where rows are asked one by one since some kill the process
_DOES_NOT_FIT = Failure("prompt_does_not_fit: raise max_length")


class Answerer:
    """Answers pieces of the samples and writes a part for each."""

    def __init__(
        self,
        *,
        config_json: str,
        output_dir: str,
        answer_space: AnswerSpaceOf,
        answer_limits: Mapping[str, int],
    ) -> None:
        """Load the engine.

        Args:
            config_json: the job's config.
            output_dir: absolute path or URL of predict's output.
            answer_space: tells what the answer to a row may be.
            answer_limits: most tokens of an answer by task, where they are not the task's own.
        """
        self._since = time.monotonic()
        self._config = PredictConfig.model_validate_json(config_json)
        self._storage = Storage(self._config.storage)
        self._output_dir = output_dir
        tokenizer = prompt_tokenizer(self._config, self._storage)
        self._asking = Asking(self._config, tokenizer, answer_space, answer_limits)
        self._failed_in_a_row = 0
        self._engine = load_engine(self._config, self._storage, tokenizer)

    def __call__(self, shard: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one piece and publish its part; rows that have no answer go to `errors/`.

        Args:
            shard: `name` of the part, its `directory`, `piece` of the samples, `adapter`, `run_id`, and `again`:
                whether rows of the finished part that failed are asked again.

        Returns:
            `name` of the part, which is written.
        """
        before = self._finished(shard)
        if before is not None and not shard["again"]:  # the actor that wrote it died before it could say so
            return {"name": shard["name"]}
        rows = segments.read(self._storage, shard["piece"], _COLUMNS)
        with Suspects(self._storage, self._output_dir, shard["name"]) as suspects:
            self._answer_part(shard, rows, before, suspects)
        return {"name": shard["name"]}

    def _answer_part(
        self,
        shard: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        before: pa.Table | None,
        suspects: Suspects,
    ) -> None:
        """Answer the rows that nobody has answered, and publish the part."""
        with self._journal(shard, suspects) as journal:
            known = [*(before.to_pylist() if before is not None else ()), *(journal.records if journal else ())]
            found = {record["sample_id"]: record for record in known}
            failed: list[dict[str, Any]] = []
            asked = [row for row in rows if row["sample_id"] not in found]
            for row, record in self._answer_some(asked, shard, suspects):
                if isinstance(record, Failure):
                    failed.append({**_keys(row), "reason": record.reason})
                    continue
                found[row["sample_id"]] = record
                if journal:
                    journal.add(record)
        records = [found[row["sample_id"]] for row in rows if row["sample_id"] in found]
        self._publish(shard, records, failed, before)
        if journal:
            journal.remove()

    def _finished(self, shard: Mapping[str, Any]) -> pa.Table | None:
        """Return the part if it is there."""
        path = join(shard["directory"], shard["name"])
        return self._storage.read_table(path) if self._storage.exists(path) else None

    def _journal(self, shard: Mapping[str, Any], suspects: Suspects) -> Any:
        """Return the journal of a part whose answers come one by one; else nothing, in a context of its own."""
        if self._config.engine == "openai":
            return Journal(self._storage, self._output_dir, shard["name"], self._config.openai.journal_seconds)
        if suspects.is_row_by_row:
            return Journal(self._storage, self._output_dir, shard["name"], _JOURNAL_SECONDS)
        return nullcontext()

    def _answer_some(
        self, rows: Sequence[Mapping[str, Any]], shard: Mapping[str, Any], suspects: Suspects
    ) -> Iterator[tuple[Mapping[str, Any], dict[str, Any] | Failure]]:
        """Yield each row with its record or failure: all together, or one by one where some kill the process."""
        if not suspects.is_row_by_row:
            yield from self._answer(rows, shard)
            return
        for row, failure in suspects.one_by_one(rows):
            if failure:
                yield row, failure
            else:
                yield from self._answer([row], shard)

    def _answer(
        self, rows: Sequence[Mapping[str, Any]], shard: Mapping[str, Any]
    ) -> Iterator[tuple[Mapping[str, Any], dict[str, Any] | Failure]]:
        """Yield each row with its record, or with the reason why it has none, as they come."""
        asked, prompts, requests = [], [], []
        for row in rows:
            made = self._prompt_and_request(row)
            if isinstance(made, Failure):
                yield row, made
            else:
                asked.append(row)
                prompts.append(made[0])
                requests.append(made[1])
        for place, answer in self._answers(requests, shard["adapter"]):
            if isinstance(answer, Answer):
                yield asked[place], self._record(asked[place], prompts[place], answer, shard)
            else:
                yield asked[place], answer

    def _answers(self, requests: Sequence[Request], adapter: str | None) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer requests; where the engine fails on some together, one by one, with the reason for those that fail."""
        if not requests:
            return
        left = set(range(len(requests)))
        try:
            for place, answer in self._engine.answer(requests, adapter):
                left.discard(place)
                self._failed_in_a_row = 0
                yield place, answer
        except InputError:
            raise
        except Exception as error:
            if len(requests) == 1:
                self._failed_in_a_row += 1
                if self._failed_in_a_row == _MOST_FAILED_IN_A_ROW:  # the engine itself is broken
                    raise
                yield 0, Failure.of(error)
                return
            logger.warning("the engine failed on %d rows together, answering them one by one: %s", len(left), error)
        for place in sorted(left):
            for _, answer in self._answers([requests[place]], adapter):
                yield place, answer

    def _prompt_and_request(self, row: Mapping[str, Any]) -> tuple[TokenizedPrompt, Request] | Failure:
        """Return what a row is asked; whatever is wrong with it concerns no other row."""
        try:
            prompt = self._asking.prompt(row)
            return _DOES_NOT_FIT if prompt is None else (prompt, self._asking.request(row, prompt))
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001  foreign rows can be wrong in any way
            return Failure.of(error)

    def _record(
        self, row: Mapping[str, Any], prompt: TokenizedPrompt, answer: Answer, shard: Mapping[str, Any]
    ) -> dict[str, Any]:
        config = self._config
        counted = answer.num_prompt_tokens
        return {
            "run_id": shard["run_id"],
            "model": config.model,
            "adapter": shard["adapter"],
            "engine": config.engine,
            "decoding": config.decoding,
            **_keys(row),
            "prompt_sha256": sha256(prompt.text.encode()).hexdigest(),
            "was_shortened": prompt.was_shortened,
            "response": answer.text,
            "finish_reason": answer.finish_reason,
            "num_prompt_tokens": len(prompt.ids) if counted is None else counted,
            "num_completion_tokens": answer.num_tokens,
            "choice_scores": list(answer.choice_scores.items()) if answer.choice_scores else None,
        }

    def _publish(
        self,
        shard: Mapping[str, Any],
        records: list[dict[str, Any]],
        failed: list[dict[str, Any]],
        before: pa.Table | None,
    ) -> None:
        """Write the part and its errors, so that a row is in one of the two whenever this is killed.

        A part that is there counts as done, so its errors come before it; where it is written again, the errors that
        it does away with are removed after it.
        """
        errors = join(self._output_dir, "errors", shard["name"])
        if failed and before is None:
            self._write_errors(errors, failed)
        now = time.monotonic()
        seconds = now - self._since + (seconds_of(before.schema.metadata) if before is not None else 0.0)
        self._since = now
        table = with_seconds(pa.Table.from_pylist(records, schema=PREDICTIONS), seconds)
        self._storage.write_table(join(shard["directory"], shard["name"]), table)
        if not failed:
            self._storage.remove(errors)
        elif before is not None:
            self._write_errors(errors, failed)

    def _write_errors(self, path: str, failed: list[dict[str, Any]]) -> None:
        self._storage.write_table(path, pa.Table.from_pylist(failed, schema=PREDICTION_ERRORS))


def _keys(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _KEYS}
