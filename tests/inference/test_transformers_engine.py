"""The embedded engine, on every architecture: a row in a batch, behind a shared beginning, is answered as if alone."""

import random
from types import SimpleNamespace

import pytest
import torch

from ecellm.inference.engines.transformers_engine import TransformersEngine
from ecellm.inference.request import Request
from tests.training.architectures import CAUSAL, SEQUENCE_TO_SEQUENCE, VOCAB_SIZE, make

END = 2
NEW_LINE = 7


class Letters:
    """A tokenizer that gives every id a character of its own."""

    pad_token_id = 0
    eos_token_id = END

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join("\n" if i == NEW_LINE else chr(0x4E00 + i) for i in ids if i != END)


def requests_of(number=9, *, shared=20, choices=((11, END), (12, END), (13, END)), **fields):
    """Prompts of different lengths with a common beginning."""
    draw = random.Random(5)
    beginning = [draw.randrange(3, VOCAB_SIZE) for _ in range(shared)]
    names = tuple(f"c{n}" for n in range(len(choices)))
    return [
        Request(
            key=f"row{n}",
            prompt="",
            prompt_ids=tuple(beginning + [draw.randrange(3, VOCAB_SIZE) for _ in range(1 + draw.randrange(20))]),
            max_new_tokens=3 + n % 5,
            choices=names,
            choice_ids=choices,
            **fields,
        )
        for n in range(number)
    ]


def answers_of(model, requests, decoding, *, together=True, **fields):
    engine = TransformersEngine(model, Letters(), decoding=decoding, seed=1, max_batch_size=4, **fields)
    if together:
        found = dict(engine.answer(requests, None))
        assert sorted(found) == list(range(len(requests)))
        return [found[place] for place in range(len(requests))]
    return [answer for request in requests for _, answer in engine.answer([request], None)]


@pytest.fixture(scope="module", params=[*CAUSAL, *SEQUENCE_TO_SEQUENCE])
def model(request):
    return make(request.param)


@pytest.mark.parametrize("decoding", ["greedy", "paper"])
def test_a_batch_with_a_shared_beginning_answers_as_each_row_alone(model, decoding):
    requests = requests_of()
    together = answers_of(model, requests, decoding)
    assert together == answers_of(model, requests, decoding, together=False)
    assert len({answer.text for answer in together}) > 1


@pytest.mark.parametrize(
    "choices",
    [((11, END), (12, END), (13, END)), ((11, 12, END), (11, 13, 14, END), (15, END))],
    ids=["first-tokens", "whole"],
)
def test_choices_have_the_scores_of_the_plain_formula(model, choices):
    requests = requests_of(choices=choices)
    for request, answer in zip(requests, answers_of(model, requests, "choice"), strict=True):
        expected = [log_probability(model, request.prompt_ids, ids) for ids in choices]
        if choices[0][0] != choices[1][0]:
            expected = [log_probability(model, request.prompt_ids, ids[:1]) for ids in choices]
        assert list(answer.choice_scores.values()) == pytest.approx(expected, abs=2e-4)


@torch.no_grad()
def log_probability(model, prompt, ids):
    """log p(ids | prompt) from one pass over everything, without cache, mask or padding."""
    if model.config.is_encoder_decoder:
        start = [model.config.decoder_start_token_id, *ids[:-1]]
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([start])).logits[0]
    else:
        logits = model(torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None]).sum())


def test_greedy_is_what_transformers_generates(model):
    requests = requests_of()
    for request, answer in zip(requests, answers_of(model, requests, "greedy"), strict=True):
        made = model.generate(
            torch.tensor([request.prompt_ids]),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=END,
        )[0].tolist()
        ids = made[1:] if model.config.is_encoder_decoder else made[len(request.prompt_ids) :]
        ended = END in ids
        ids = ids[: ids.index(END)] if ended else ids
        assert answer.text == Letters().decode(ids, skip_special_tokens=True)
        assert (answer.finish_reason, answer.num_tokens) == ("stop" if ended else "length", len(ids))


class Scripted:
    """A causal model that writes what it is told, whatever the prompt, and counts what it computes."""

    device = torch.device("cpu")

    def __init__(self, *texts):
        from transformers import LlamaConfig

        self.config = LlamaConfig(num_hidden_layers=1)
        self.generation_config = SimpleNamespace(eos_token_id=[END, 3])
        self.texts = texts
        self.batch_sizes = []

    def __call__(self, input_ids, position_ids=None, past_key_values=None, **_):
        number, length = input_ids.shape
        states = torch.zeros(number, 1, length, 1)
        if past_key_values is not None:
            states[..., 0] = input_ids[:, None]
            keys, _ = past_key_values.update(states, states, 0)
        self.batch_sizes.append(number)
        logits = torch.zeros(number, length, VOCAB_SIZE)
        for row in range(number):
            who = int(keys[row, 0, 0, 0]) % len(self.texts)
            done = keys.shape[2] - 4
            logits[row, -1, self.texts[who][done] if done < len(self.texts[who]) else END] = 1
        return SimpleNamespace(logits=logits)


def scripted(*texts, **fields):
    model = Scripted(*texts)
    requests = [Request(f"r{n}", "", (n, 1, 1, 1), 6, **fields) for n in range(len(texts))]
    return model, answers_of(model, requests, "greedy")


def test_rows_that_are_done_leave_their_batch():
    model, answers = scripted([20, END], [21, 22, 23, END], [24, 3])
    assert [answer.text for answer in answers] == [
        chr(0x4E00 + 20),
        "".join(map(chr, (0x4E15, 0x4E16, 0x4E17))),
        chr(0x4E18),
    ]
    assert model.batch_sizes == [3, 3, 1, 1]


def test_an_answer_of_one_line_is_complete_where_its_line_ends():
    lines = [NEW_LINE, 20, NEW_LINE, 21]
    _, (answer,) = scripted(lines, is_one_line=True)
    assert (answer.text, answer.finish_reason, answer.num_tokens) == ("\n" + chr(0x4E00 + 20), "stop", 3)
    _, (answer,) = scripted(lines)
    assert answer.text == "\n" + chr(0x4E00 + 20) + "\n" + chr(0x4E00 + 21)


def test_an_answer_has_at_most_max_new_tokens():
    _, (answer,) = scripted([20] * 9)
    assert (answer.num_tokens, answer.finish_reason) == (6, "length")


def test_ranked_choices_are_all_named_best_first():
    model = make("llama")
    for answer in answers_of(model, requests_of(ranks_choices=True), "choice"):
        scores = answer.choice_scores
        assert answer.text == ",".join(sorted(scores, key=lambda name: -scores[name]))


def test_a_shared_beginning_is_computed_once():
    model = make("llama")
    lengths = []
    model.register_forward_pre_hook(lambda _, __, given: lengths.append(given["input_ids"].numel()), with_kwargs=True)
    requests = requests_of(12, shared=100)
    answers_of(model, requests, "choice")
    assert sum(lengths) < 100 + sum(len(request.prompt_ids) - 100 for request in requests) * 1.12


def test_several_adapters_answer_as_each_does_when_it_is_merged(tmp_path):
    from peft import LoraConfig, get_peft_model

    from ecellm.inference.engines.transformers_engine import load_model

    base = str(tmp_path / "base")
    make("llama").save_pretrained(base)
    adapters = {}
    for name in ("one", "two"):
        base_model = make("llama")
        torch.manual_seed(len(adapters))
        model = get_peft_model(base_model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
        model.save_pretrained(tmp_path / name)
        adapters[name] = str(tmp_path / name)
    requests = requests_of()

    def answered(names, by):
        chosen = {name: adapters[name] for name in names}
        model = load_model(base, None, chosen, precision="fp32", use_gpu=False)
        engine = TransformersEngine(
            model, Letters(), decoding="greedy", seed=1, max_batch_size=4, adapters=tuple(chosen)
        )
        return {name: [answer.text for _, answer in sorted(engine.answer(requests, name))] for name in by}

    both = answered(["one", "two"], ["one", "two", "one"])
    assert both["one"] == answered(["one"], ["one"])["one"]
    assert both["two"] == answered(["two"], ["two"])["two"]
    assert both["one"] != both["two"]
    assert both["one"] != answered([], [None])[None]
