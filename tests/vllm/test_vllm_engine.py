"""vLLM answers like transformers: a tiny random model, fp32, no GPU. `make test-vllm` runs this."""

import pytest
import torch

from ecellm.config.predict import VllmSettings
from ecellm.inference.complete import completed
from ecellm.inference.request import Answer, Failure, Request
from ecellm.training.tiny_model import make_tiny_model

pytestmark = pytest.mark.vllm

MAX_LENGTH = 256
TEXTS = ["the blue lamp, the red lamp:\nis it good? yes\nor no\n\nwell then"] * 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
SHARED = tuple(range(40, 110))  # more than a block of the prefix cache


def tokenizer_of(path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def model_of(path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path).eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model that writes line ends and end tokens often, with heads as large as vLLM's kernels for CPUs need."""
    sizes = {"vocab_size": 400, "hidden_size": 64, "num_heads": 2, "max_length": 512}
    path = make_tiny_model(tmp_path_factory.mktemp("base"), TEXTS, **sizes)
    model, tokenizer = model_of(path), tokenizer_of(path)
    with torch.no_grad():
        for token in (tokenizer.eos_token_id, *tokenizer("\n", add_special_tokens=False)["input_ids"]):
            model.lm_head.weight[token] *= 2
    model.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    """Two adapters as finetune leaves them, output layer included, and the model merged with the first."""
    from peft import LoraConfig, get_peft_model

    directories = {}
    for name, rank in (("first", 16), ("second", 4)):
        torch.manual_seed(rank)
        lora = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=16, target_modules=TARGETS, init_lora_weights=False)
        model = get_peft_model(model_of(base), lora)
        directories[name] = str(tmp_path_factory.mktemp(name))
        model.save_pretrained(directories[name], save_embedding_layers=False)
        if name == "first":
            merged = str(tmp_path_factory.mktemp("merged"))
            model.merge_and_unload().save_pretrained(merged)
            tokenizer_of(base).save_pretrained(merged)
    return directories, merged


def settings_of(tokenizer, **changes):
    settings = VllmSettings(cpu_cache_gib=1, enforce_eager=True, max_num_seqs=8)
    values = {"decoding": "greedy", "seed": 1, "max_length": MAX_LENGTH, "precision": "fp32", "use_gpu": False}
    return {"revision": None, "tokenizer": tokenizer, "adapters": {}, **values, "settings": settings, **changes}


def make_engine(path, **changes):
    from ecellm.inference.engines.vllm_engine import VllmEngine

    return VllmEngine(path, **settings_of(tokenizer_of(path), **changes))


@pytest.fixture(scope="module")
def engine(base):
    return make_engine(base)


@pytest.fixture
def decode_by(engine, monkeypatch):
    """Let the one engine, whose start takes long, decode in another way."""
    return lambda decoding: monkeypatch.setattr(engine, "_decoding", decoding)


def answers(engine, requests, adapter=None):
    found = dict(engine.answer(requests, adapter))
    assert sorted(found) == list(range(len(requests)))
    return [found[place] for place in range(len(requests))]


def written_requests(number=24):
    return [
        Request(f"row{n}", "", (1, *SHARED, *range(50 + n, 50 + 2 * n)), 4 + n, is_one_line=n % 2 == 0)
        for n in range(number)
    ]


def greedy_answer(model, tokenizer, request):
    """Generate with nothing but the model's logits."""
    ids = []
    for _ in range(request.max_new_tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([[*request.prompt_ids, *ids]])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            return Answer(tokenizer.decode(ids[:-1], skip_special_tokens=True), "stop", len(ids) - 1)
        text = completed(tokenizer.decode(ids, skip_special_tokens=True), is_one_line=request.is_one_line)
        if text is not None:
            return Answer(text, "stop", len(ids))
    return Answer(tokenizer.decode(ids, skip_special_tokens=True), "length", len(ids))


def log_probability(model, prompt, answer):
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].float()
    return sum(
        float(torch.log_softmax(logits[len(prompt) - 1 + place], -1)[token]) for place, token in enumerate(answer)
    )


def choice_request(*choice_ids, number=0, **fields):
    names = tuple(f"c{n}" for n in range(len(choice_ids)))
    return Request(f"row{number}", "", (1, *SHARED, 50 + number), 4, names, tuple(map(tuple, choice_ids)), **fields)


def choice_requests():
    """Choices that differ at once, that collide, that are many, and that are ranked."""
    return [
        choice_request((60, 61, 2), (62, 2), number=1),
        choice_request((60, 61, 2), (60, 62, 63, 2), (64, 2), (60, 2), number=2),
        choice_request(*((n, 2) for n in range(100, 240)), number=3),
        choice_request((65, 2), (66, 2), (67, 2), number=4, ranks_choices=True),
    ]


def expected_scores(model, request):
    firsts = {ids[0] for ids in request.choice_ids}
    length = 1 if len(firsts) == len(request.choice_ids) else None
    return [log_probability(model, request.prompt_ids, ids[:length]) for ids in request.choice_ids]


def assert_choices_like(model, requests, found):
    for request, answer in zip(requests, found, strict=True):
        scores = expected_scores(model, request)
        assert list(answer.choice_scores) == list(request.choices)
        assert list(answer.choice_scores.values()) == pytest.approx(scores, abs=1e-3)
        order = [name for _, name in sorted(zip([-score for score in scores], request.choices, strict=True))]
        assert answer.text == (",".join(order) if request.ranks_choices else order[0])
        assert answer.finish_reason == "choice"


def test_greedy_answers_are_those_of_a_plain_loop(base, engine):
    model, tokenizer, requests = model_of(base), tokenizer_of(base), written_requests()
    expected = [greedy_answer(model, tokenizer, request) for request in requests]
    assert answers(engine, requests) == expected
    assert {answer.finish_reason for answer in expected} == {"stop", "length"}
    cut = [r.is_one_line and a.num_tokens < r.max_new_tokens for r, a in zip(requests, expected, strict=True)]
    assert any(cut), "no answer was complete before its limit: the model does not test what it should"


def test_choices_have_the_log_probabilities_of_the_whole_vocabulary(base, engine, decode_by):
    decode_by("choice")
    requests = choice_requests()
    assert_choices_like(model_of(base), requests, answers(engine, requests))


def test_equal_choices_go_to_the_first(engine, decode_by):
    decode_by("choice")
    (answer,) = answers(engine, [choice_request((60, 61, 2), (60, 61, 2))])
    assert answer.text == "c0"


def test_a_rows_sampling_is_its_own(engine, decode_by, monkeypatch):
    greedy = answers(engine, written_requests())
    decode_by("paper")
    requests = written_requests()
    together = answers(engine, requests)
    backwards = answers(engine, requests[::-1])[::-1]
    alone = [answers(engine, [request])[0] for request in requests[-4:]]
    assert together == backwards
    assert together[-4:] == alone
    assert together != greedy
    monkeypatch.setattr(engine, "_seed", 2)
    assert answers(engine, requests) != together


def test_a_row_that_does_not_fit_fails_alone(engine, decode_by):
    too_long = Request("long", "", (1,) * MAX_LENGTH, 4)
    just_fits = Request("fits", "", (1,) * (MAX_LENGTH - 1), 4)
    requests = [*written_requests(2), too_long, just_fits]
    found = answers(engine, requests)
    assert [type(answer) for answer in found] == [Answer, Answer, Failure, Answer]
    assert "raise max_length" in found[2].reason
    decode_by("choice")
    ids = (60, *range(100, 100 + MAX_LENGTH), 2)
    found = answers(engine, [choice_request(ids, (60, 2)), choice_request((60, 2), (61, 2))])
    assert [type(answer) for answer in found] == [Failure, Answer]


def test_a_row_that_vllm_refuses_fails_alone(engine, decode_by):
    decode_by("choice")
    found = answers(engine, [choice_request((60, 2), (10**6, 2)), choice_request((60, 2), (61, 2))])
    assert [type(answer) for answer in found] == [Failure, Answer]
    assert "vocab" in found[0].reason


def test_answers_that_nobody_waits_for_are_given_up(engine):
    work = engine.answer(written_requests(), None)
    next(work)
    work.close()
    assert not engine._engine.has_unfinished_requests()


def test_a_merged_model_answers_like_transformers(adapters):
    _, merged = adapters
    engine, model, requests = make_engine(merged, decoding="choice"), model_of(merged), choice_requests()
    assert_choices_like(model, requests, answers(engine, requests))


def test_adapters_in_a_ray_actor_answer_like_transformers(base, adapters, local_ray):
    import ray
    from peft import PeftModel

    from ecellm.inference.engines.vllm_engine import VllmEngine

    class Asked(VllmEngine):
        def all(self, requests, adapter):
            return sorted(self.answer(requests, adapter))

    directories, _ = adapters
    settings = settings_of(tokenizer_of(base), adapters=directories, decoding="choice")
    actor = ray.remote(Asked).options(num_cpus=1).remote(base, **settings)
    requests = choice_requests()
    for name, directory in directories.items():
        found = ray.get(actor.all.remote(requests, name))
        model = PeftModel.from_pretrained(model_of(base), directory).eval()
        assert_choices_like(model, requests, [answer for _, answer in found])
    with pytest.raises(ray.exceptions.RayTaskError, match="does not answer with the model alone"):
        ray.get(actor.all.remote(requests, None))
    ray.kill(actor)


def test_the_whole_job_gives_what_it_gives_with_transformers(base, tmp_path, local_ray):
    import pandas as pd

    from ecellm.config import PredictConfig
    from ecellm.stage import execute
    from ecellm.stages import load_stage
    from tests.inference.conftest import write_samples

    write_samples(tmp_path / "samples", "Product_Matching", "IND_Diverse_Instruction", 9)
    write_samples(tmp_path / "samples", "Answer_Generation", "OOD_Diverse_Instruction", 5)
    found = {}
    for name in ("vllm", "transformers"):
        config = PredictConfig(
            samples_dir=str(tmp_path / "samples"),
            model=base,
            output_dir=str(tmp_path / name),
            engine=name,
            decoding="choice",
            max_length=512,
            max_answer_tokens=16,
            num_actors=1,
            rows_per_shard=4,
            vllm={"cpu_cache_gib": 1, "enforce_eager": True},
        )
        execute(load_stage("predict"), config)
        rows = pd.read_parquet(tmp_path / name / "data").set_index("sample_id").sort_index()
        found[name] = rows[["response", "finish_reason", "num_prompt_tokens", "num_completion_tokens"]]
    assert len(found["vllm"]) == 14
    pd.testing.assert_frame_equal(found["vllm"], found["transformers"])
