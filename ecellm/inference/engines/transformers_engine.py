"""The embedded default engine: a transformers model, causal or sequence-to-sequence, with or without an adapter."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, LogitsProcessorList

from ecellm.inference import choices
from ecellm.inference.request import Answer, Request
from ecellm.inference.sampling import PAPER_TEMPERATURE, PAPER_TOP_P, RowSampling


def load_model(path: str, revision: str | None, adapter: str | None, *, precision: str, use_gpu: bool) -> Any:
    """Load a model for inference on this worker's device.

    Args:
        path: local directory or hub name.
        revision: hub revision.
        adapter: local directory of a peft adapter, merged into the model; None for none.
        precision: auto (bf16 on a GPU that has it, else fp32), fp32 or bf16.
        use_gpu: whether this worker was given a GPU.
    """
    on_gpu = use_gpu and torch.cuda.is_available()
    use_bf16 = precision == "bf16" or (precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
    config = AutoConfig.from_pretrained(path, revision=revision)
    model_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = model_class.from_pretrained(path, revision=revision, dtype=torch.bfloat16 if use_bf16 else torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model.to("cuda" if on_gpu else "cpu").eval()


class TransformersEngine:
    """Answers batches of prompts of like length with one model."""

    def __init__(self, model: Any, tokenizer: Any, *, decoding: str, seed: int, max_batch_size: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._decoding = decoding
        self._seed = seed
        self._max_batch_size = max_batch_size
        self._is_encoder_decoder = bool(model.config.is_encoder_decoder)

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, in their order."""
        answers: list[Answer | None] = [None] * len(requests)
        compared = [i for i, r in enumerate(requests) if self._decoding == "choice" and r.choices]
        generated = sorted(set(range(len(requests))) - set(compared))
        for places, work in ((compared, self._choose), (generated, self._generate)):
            for batch in self._batches(requests, places):
                for place, answer in zip(batch, work([requests[i] for i in batch]), strict=True):
                    answers[place] = answer
        assert all(answer is not None for answer in answers)
        return [answer for answer in answers if answer is not None]

    def _batches(self, requests: Sequence[Request], places: Sequence[int]) -> Iterator[list[int]]:
        """Yield places of requests of like length: padding is work for nothing."""
        by_length = sorted(places, key=lambda i: (len(requests[i].prompt_ids), i), reverse=True)
        for start in range(0, len(by_length), self._max_batch_size):
            yield by_length[start : start + self._max_batch_size]

    def _padded(self, requests: Sequence[Request]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask [batch, longest]: padded on the left, where generation goes on at the right."""
        longest = max(len(request.prompt_ids) for request in requests)
        pad = self._tokenizer.pad_token_id
        ids = [[pad] * (longest - len(r.prompt_ids)) + list(r.prompt_ids) for r in requests]
        mask = [[0] * (longest - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in requests]
        device = self._model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _generate(self, requests: Sequence[Request]) -> list[Answer]:
        ids, mask = self._padded(requests)
        processors = LogitsProcessorList()
        if self._decoding == "paper":
            keys = [request.key for request in requests]
            processors.append(RowSampling(keys, self._seed, PAPER_TEMPERATURE, PAPER_TOP_P))
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(request.max_new_tokens for request in requests),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            num_beams=1,
            logits_processor=processors,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
        )
        start = 1 if self._is_encoder_decoder else ids.shape[1]
        return [self._read(row[start:].tolist(), r) for row, r in zip(output, requests, strict=True)]

    def _read(self, ids: list[int], request: Request) -> Answer:
        end = self._tokenizer.eos_token_id
        stopped = end in ids[: request.max_new_tokens]
        ids = ids[: ids.index(end)] if stopped else ids[: request.max_new_tokens]
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        return Answer(text, "stop" if stopped else "length", len(ids))

    def _choose(self, requests: Sequence[Request]) -> list[Answer]:
        at_once = [request for request in requests if choices.differ_at_once(request)]
        scores: dict[str, list[float]] = {}
        if at_once:
            logits = self._next_token_logits(at_once)
            scores = {r.key: choices.scores_of_first_tokens(row, r) for r, row in zip(at_once, logits, strict=True)}
        score_whole = choices.scores_of_whole_labels if self._is_encoder_decoder else choices.scores_of_whole_choices
        for request in requests:
            if request.key not in scores:
                scores[request.key] = score_whole(self._model, request, self._tokenizer.pad_token_id)
        return [choices.answer_of(request, scores[request.key]) for request in requests]

    def _next_token_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Return logits [batch, vocabulary] of the token behind each prompt."""
        ids, mask = self._padded(requests)
        if self._is_encoder_decoder:
            start = torch.full((len(requests), 1), self._model.config.decoder_start_token_id, device=ids.device)
            return self._model(input_ids=ids, attention_mask=mask, decoder_input_ids=start).logits[:, -1]
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        output = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
        )
        return output.logits[:, -1]
