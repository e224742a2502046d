"""The embedded default engine: a transformers model, causal or sequence-to-sequence, with or without adapters.

Prompts with a common beginning share its computation, and batches are of like length (see batching.py). Rows that are
done leave their batch. Same batches, same answers: a shard is answered alike whatever the number of actors. Another
batch size adds the same numbers in another order; where two tokens, or two choices, are closer than such rounding
(about 1e-6 in fp32, 1e-2 in bf16), it may take the other one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ecellm.inference import choices
from ecellm.inference.batching import Group, batches, share
from ecellm.inference.complete import AnswerReader
from ecellm.inference.engines.causal import CausalBatch, compute_beginning, longest_that_share
from ecellm.inference.engines.sequence_to_sequence import SequenceToSequenceBatch
from ecellm.inference.request import Answer, Failure, Request
from ecellm.inference.sampling import draw_tokens, uniform_draw
from ecellm.models import explained

Batch = CausalBatch | SequenceToSequenceBatch


def load_model(
    path: str,
    revision: str | None,
    adapters: Mapping[str, str],
    *,
    precision: str,
    use_gpu: bool,
    trust_remote_code: bool = False,
) -> Any:
    """Load a model for inference on this worker's device.

    Args:
        path: local directory or hub name.
        revision: hub revision.
        adapters: local directories of peft adapters by name. One is merged into the model; several stay beside it.
        precision: auto (bf16 on a GPU that has it, else fp32), fp32 or bf16.
        use_gpu: whether this worker was given a GPU.
        trust_remote_code: run the Python code that the model brings along.
    """
    from ecellm.model_loading import gpu_has_bf16, load_base

    on_gpu = use_gpu and torch.cuda.is_available()
    use_bf16 = precision == "bf16" or (precision == "auto" and on_gpu and gpu_has_bf16())
    dtype = torch.bfloat16 if use_bf16 else torch.float32
    model = load_base(path, revision=revision, dtype=dtype, trust_remote_code=trust_remote_code)
    if adapters:
        model = _with_adapters(model, adapters)
    return model.to("cuda" if on_gpu else "cpu").eval()


def _with_adapters(model: Any, adapters: Mapping[str, str]) -> Any:
    from peft import PeftModel

    directories = list(adapters.values())
    for number, directory in enumerate(directories):
        with explained(directory, f"adapter {directory} cannot be loaded"):
            if number == 0:
                model = PeftModel.from_pretrained(model, directory, adapter_name=_adapter_name(0))
            else:
                model.load_adapter(directory, adapter_name=_adapter_name(number))
            if len(directories) == 1:
                model = model.merge_and_unload()
    return model


def _adapter_name(number: int) -> str:
    return f"adapter-{number}"


class TransformersEngine:
    """Answers with one model, and its adapters, in this process."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        decoding: str,
        seed: int,
        max_batch_size: int,
        adapters: Sequence[str] = (),
    ) -> None:
        """Take a loaded model.

        Args:
            model: of `load_model`.
            tokenizer: its tokenizer.
            decoding: greedy, paper or choice.
            seed: of sampling.
            max_batch_size: most rows of a batch.
            adapters: names of the adapters, in the order in which the model was loaded with them.
        """
        self._tokenizer = tokenizer
        self._decoding = decoding
        self._seed = seed
        self._max_batch_size = max_batch_size
        self._switched = model if len(adapters) > 1 else None
        self._adapters = {name: _adapter_name(number) for number, name in enumerate(adapters)}
        self._model = model.get_base_model() if len(adapters) > 1 else model
        self._is_encoder_decoder = bool(self._model.config.is_encoder_decoder)
        self._longest_that_share = 0 if self._is_encoder_decoder else longest_that_share(self._model)
        self._num_threads = torch.get_num_threads()
        self._reader = AnswerReader.of(tokenizer, self._model.generation_config)

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request], adapter: str | None) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer requests, batch by batch."""
        # Their number is each thread's own, and an actor is called in another thread than made it.
        torch.set_num_threads(self._num_threads)
        if self._switched is not None and adapter is not None:
            self._switched.set_adapter(self._adapters[adapter])
        compared = [i for i, r in enumerate(requests) if self._decoding == "choice" and r.choices]
        generated = sorted(set(range(len(requests))) - set(compared))
        for places, work in ((compared, self._choose), (generated, self._generate)):
            asked = [requests[place] for place in places]
            for group in self._groups(asked):
                for batch, answers in self._answer_group(asked, group, work):
                    yield from ((places[i], answer) for i, answer in zip(batch, answers, strict=True))

    def _groups(self, requests: Sequence[Request]) -> list[Group]:
        most_new = max((request.max_new_tokens for request in requests), default=0)
        return share([r.prompt_ids for r in requests], longest=self._longest_that_share - most_new) if requests else []

    def _answer_group(
        self, requests: Sequence[Request], group: Group, work: Any
    ) -> Iterator[tuple[list[int], list[Answer]]]:
        beginning = None
        if group.num_shared:
            beginning = compute_beginning(self._model, requests[group.places[0]].prompt_ids[: group.num_shared])
        lengths = [len(request.prompt_ids) - group.num_shared for request in requests]
        for batch in batches(lengths, group.places, self._max_batch_size):
            rows = [requests[place] for place in batch]
            yield batch, work(rows, beginning)

    def _compute(self, requests: Sequence[Request], beginning: Any, *, is_continued: bool) -> Batch:
        prompts = [request.prompt_ids for request in requests]
        if self._is_encoder_decoder:
            return SequenceToSequenceBatch(self._model, prompts, self._tokenizer.pad_token_id)
        return CausalBatch(self._model, prompts, self._tokenizer.pad_token_id, beginning, is_continued=is_continued)

    def _choose(self, requests: Sequence[Request], beginning: Any) -> list[Answer]:
        at_once = [choices.differ_at_once(request) for request in requests]
        batch = self._compute(requests, beginning, is_continued=not all(at_once))
        answers = []
        for row, request in enumerate(requests):
            assert request.choice_ids is not None
            if at_once[row]:
                scores = choices.scores_of_first_tokens(batch.logits[row], request)
            else:
                scores = batch.choice_scores(row, request.choice_ids)
            answers.append(choices.answer_of(request, scores))
        return answers

    def _generate(self, requests: Sequence[Request], beginning: Any) -> list[Answer]:
        batch = self._compute(requests, beginning, is_continued=True)
        written: list[list[int]] = [[] for _ in requests]
        answers: dict[int, Answer] = {}
        at_work = list(range(len(requests)))
        while True:
            tokens = self._next_tokens(batch.logits, [(requests[row].key, len(written[row])) for row in at_work])
            for row, token in zip(at_work, tokens.tolist(), strict=True):
                written[row].append(token)
                ids, request = written[row], requests[row]
                answer = self._reader.read(ids, request, is_finished=len(ids) == request.max_new_tokens)
                if answer is not None:
                    answers[row] = answer
            going_on = [place for place, row in enumerate(at_work) if row not in answers]
            if not going_on:
                return [answers[row] for row in range(len(requests))]
            if len(going_on) < len(at_work):
                at_work = [at_work[place] for place in going_on]
                batch.keep(going_on)
                tokens = tokens[going_on]
            batch.step(tokens)

    def _next_tokens(self, logits: torch.Tensor, drawn: Sequence[tuple[str, int]]) -> torch.Tensor:
        """Return a token for each row, int64 [batch]; `drawn` are the rows' (key, step)."""
        if self._decoding != "paper":
            return logits.argmax(dim=-1)
        return draw_tokens(logits, [uniform_draw(self._seed, key, step) for key, step in drawn])
