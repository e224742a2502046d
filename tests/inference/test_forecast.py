"""What answering will take: counts that a user can check by hand, estimates that say so, and the model's own size."""

import itertools

import pytest

from ecellm.config import PredictConfig
from ecellm.dataset.partitions import Partition
from ecellm.inference import forecast as module
from ecellm.inference.engines.load import prompt_tokenizer
from ecellm.inference.forecast import Forecast, SplitForecast, describe, forecast
from ecellm.inference.request import AnswerSpace
from ecellm.inference.speed import ActorTime, Shape, Speed, measured_flops, shape_of
from ecellm.prompts.rendering import PromptParts, render
from ecellm.prompts.tokenizer import load_prompt_tokenizer
from ecellm.storage import Storage
from tests.inference.conftest import OPTIONS, write_samples


def config_of(samples_dir, **fields):
    fields = {"engine": "fake", "model": "none/none", "max_length": 2048, "max_answer_tokens": 16, **fields}
    return PredictConfig(samples_dir=str(samples_dir), output_dir="out", **fields)


def answer_space(row):
    closed = ("yes", "no") if row["options"] else None
    return AnswerSpace(closed, max_new_tokens={"Answer_Generation": 100}.get(row["task"], 4))


def looked_at(samples_dir, **fields):
    config, storage = config_of(samples_dir, **fields), Storage()
    found = forecast(config, storage, answer_space, prompt_tokenizer(config, storage))
    return found, {(split.setting, split.task): split for split in found.splits}


def prompts_of(samples_dir, setting, task):
    files = Storage().list_files(Partition(setting, "test", task).directory(samples_dir), ".parquet")
    return [PromptParts.of(row) for file in files for row in Storage().read_table(file).to_pylist()]


PM = ("IND_Diverse_Instruction", "Product_Matching")
SA = ("IND_Diverse_Instruction", "Sentiment_Analysis")
AG = ("OOD_Diverse_Instruction", "Answer_Generation")


def test_rows_and_tokens_of_few_rows_are_exact(samples_dir, tiny_model):
    found, splits = looked_at(samples_dir, engine="transformers", model=tiny_model)
    tokenizer = load_prompt_tokenizer(
        tiny_model, None, Storage(), prompt_format="alpaca", max_length=2048, max_answer_tokens=16
    )
    for key, number, answer in ((PM, 23, 4), (SA, 9, 4), (AG, 4, 16)):
        prompts = [tokenizer.prompt(parts) for parts in prompts_of(samples_dir, *key)]
        assert splits[key].num_rows == number
        assert splits[key].num_prompt_tokens == sum(len(prompt.ids) for prompt in prompts)
        assert splits[key].num_answer_tokens == number * answer
        assert splits[key].is_exact
    assert found.total.num_rows == 41
    assert found.actor_time.seconds > 0


def test_limit_tasks_settings_and_adapters_count(samples_dir, tiny_model):
    found, splits = looked_at(
        samples_dir, limit=7, tasks=("Product_Matching",), settings=(PM[0],), rows_per_shard=3, adapters=("a", "b")
    )
    assert list(splits) == [PM]
    assert (splits[PM].num_rows, splits[PM].num_looked_at, found.num_shards) == (14, 7, 6)
    one, _ = looked_at(samples_dir, limit=7, tasks=("Product_Matching",), settings=(PM[0],))
    assert found.total.num_prompt_tokens == 2 * one.total.num_prompt_tokens
    assert found.total.num_answer_tokens == 2 * one.total.num_answer_tokens


def test_many_rows_are_looked_at_evenly_and_scaled(tmp_path, tiny_model, monkeypatch):
    write_samples(tmp_path, PM[1], PM[0], 50)
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 10)
    fields = {"engine": "transformers", "model": tiny_model}
    found, splits = looked_at(tmp_path, **fields)
    assert (splits[PM].num_rows, splits[PM].num_looked_at, splits[PM].is_exact) == (50, 10, False)
    assert splits[PM].num_answer_tokens == 50 * 4
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 50)
    _, whole = looked_at(tmp_path, **fields)
    assert splits[PM].num_prompt_tokens == pytest.approx(whole[PM].num_prompt_tokens, rel=0.05)
    lines = describe(found, config_of(tmp_path, **fields))
    assert any(f"about {splits[PM].num_prompt_tokens:,}" in line for line in lines)
    assert any("scaled from at most" in line for line in lines)


def test_the_rows_looked_at_are_those_at_their_places_across_files_and_row_groups(tmp_path):
    write_samples(tmp_path, PM[1], PM[0], 50)
    files = Storage().list_files(str(tmp_path), ".parquet")
    piece = module.segments.cut(Storage(), files, 1 << 62, 47)[0]
    places = [0, 3, 4, 24, 25, 26, 31, 46]
    assert [row["row_index"] for row in module._rows_at(Storage(), piece, places)] == places
    everywhere = range(47)
    assert [row["row_index"] for row in module._rows_at(Storage(), piece, everywhere)] == list(everywhere)


@pytest.mark.parametrize(("number", "most"), [(0, 4), (1, 4), (4, 4), (5, 4), (1_000_003, 256)])
def test_places_are_spread(number, most):
    places = module._spread(number, most)
    assert len(places) == min(number, most)
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert all(0 <= place < number for place in places)
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


def test_without_a_tokenizer_tokens_are_estimated_from_the_prompts_characters(samples_dir):
    found, splits = looked_at(samples_dir)
    texts = [render(parts, "alpaca", None) for parts in prompts_of(samples_dir, *AG)]
    assert splits[AG].num_prompt_tokens == sum(-(-len(text) // 4) for text in texts)
    assert not splits[AG].is_exact
    assert found.actor_time is None
    text = "\n".join(describe(found, config_of(samples_dir)))
    assert "characters / 4, since engine=fake has no tokenizer" in text
    assert "asks no model" in text


def test_an_endpoint_with_a_tokenizer_is_counted_and_its_time_is_not_guessed(samples_dir, tiny_model):
    fields = {
        "engine": "openai",
        "openai": {"tokenizer": tiny_model, "concurrency": 12},
        "decoding": "choice",
        "price": {"per_million_prompt_tokens": 1000.0, "per_million_completion_tokens": 500.0},
        "num_actors": 3,
    }
    found, splits = looked_at(samples_dir, **fields)
    assert splits[SA].is_exact
    assert splits[SA].num_answer_tokens == 9 * 4  # an endpoint writes its choice
    lines = describe(found, config_of(samples_dir, **fields))
    most = found.total.num_prompt_tokens / 1000 + found.total.num_answer_tokens / 2000
    assert lines[-1] == f"price: at most {most:,.2f} USD"
    assert "each of 3 actors has openai.concurrency=12 requests under way" in lines[-2]


def test_choices_that_the_model_compares_are_no_new_tokens(samples_dir, tiny_model):
    _, splits = looked_at(samples_dir, engine="transformers", model=tiny_model, decoding="choice")
    assert splits[SA].num_answer_tokens == 0
    assert splits[PM].num_answer_tokens == 23 * 4


def test_the_papers_sampling_may_write_to_the_limit(samples_dir):
    _, splits = looked_at(samples_dir, decoding="paper")
    assert splits[PM].num_answer_tokens == 23 * 16


def test_prompts_that_are_shortened_or_cannot_fit_are_told(tmp_path, tiny_model):
    write_samples(tmp_path, SA[1], SA[0], 5, options=OPTIONS * 20)
    write_samples(tmp_path, PM[1], PM[0], 4, input="red lamp " * 500)
    fields = {"engine": "transformers", "model": tiny_model, "max_length": 256}
    found, splits = looked_at(tmp_path, **fields)
    assert (splits[PM].num_shortened, splits[PM].num_too_long) == (4, 0)
    assert (splits[SA].num_shortened, splits[SA].num_too_long) == (0, 5)
    assert (splits[SA].num_prompt_tokens, splits[SA].num_answer_tokens) == (0, 0)
    lines = describe(found, config_of(tmp_path, **fields))
    assert f"{' '.join(PM)}: 4 of 4 rows looked at will be shortened to fit max_length=256" in lines
    assert (
        f"{' '.join(SA)}: 5 of 5 rows looked at do not fit max_length=256, or cannot be asked: they will fail" in lines
    )


def empty(config):
    from ecellm.model_loading import empty_model

    return empty_model(config)


@pytest.mark.parametrize("tied", [False, True])
def test_a_token_goes_through_the_published_parameters_without_the_embeddings(tied):
    from transformers import LlamaConfig

    llama_2_7b = LlamaConfig(
        vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32, tie_word_embeddings=tied
    )
    embeddings = 32_000 * 4096
    shape = shape_of(empty(llama_2_7b))
    assert shape.prompt == shape.answer == 6_738_415_616 - 2 * embeddings
    assert shape.head == embeddings


def test_of_a_sequence_to_sequence_model_prompts_are_the_encoders():
    from transformers import T5Config

    base = empty(T5Config())
    shape = shape_of(base)
    embeddings = base.get_input_embeddings().weight.numel()
    assert shape.prompt == sum(own.numel() for own in base.get_encoder().parameters()) - embeddings
    assert shape.prompt + shape.answer + embeddings == sum(own.numel() for own in base.parameters())
    assert shape.head == embeddings


def test_time_is_that_of_the_matrix_products_by_hand():
    speed = Speed(1e12, 0.5, 48.0, "basis")
    shape = Shape(200_000_000, 200_000_000, 50_000_000)
    taken = speed.time(shape, num_rows=100, num_prompt_tokens=10_000, num_answer_tokens=1_000, at_once=16)
    assert taken.prompt_seconds == pytest.approx(2 * (200e6 * 10_000 + 50e6 * 100) / 0.5e12)
    assert taken.answer_seconds == pytest.approx(2 * 250e6 * 1_000 / 0.5e12 * (16 + 48) / 16)


def test_of_a_tiny_model_the_time_is_said_to_be_the_least():
    arguments = {"num_rows": 1, "num_prompt_tokens": 10, "num_answer_tokens": 1, "at_once": 1}
    bases = [
        Speed(1e12, 0.5, 48.0, "a guess").time(Shape(size, size, 0), **arguments).basis
        for size in (1_000_000, 100_000_000)
    ]
    assert bases[0].endswith("this is the least it takes")
    assert bases[1] == "a guess"


def test_a_gpu_that_is_not_known_has_no_time_but_a_price_for_each_hour(samples_dir, tiny_model):
    fields = {"engine": "transformers", "model": tiny_model, "use_gpu": True, "price": {"per_actor_hour": 1.5}}
    found, _ = looked_at(samples_dir, **fields)
    lines = describe(found, config_of(samples_dir, **fields))
    assert lines[-2] == "time: not known; this node has no GPU whose peak FLOP/s are known"
    assert lines[-1] == "price: 1.50 USD for each actor-hour, how many is not known"


def test_the_cpu_is_measured_with_the_actors_threads_and_left_as_it_was():
    import torch

    before = torch.get_num_threads()
    assert measured_flops(bf16=False, num_threads=before + 1) > 1e8
    assert torch.get_num_threads() == before


SPLITS = (
    SplitForecast(*PM, 253, 65_274, 6_072, 253, 0, 0, is_exact=True),
    SplitForecast(*AG, 10_000, 1_200_000, 1_000_000, 256, 0, 0, is_exact=False),
)


@pytest.mark.parametrize(
    ("num_actors", "room", "text"),
    [
        (None, None, "about 48 min of one actor, divided by as many as there is room for"),
        (4, None, "about 12 min on 4 actors (prompts 3 min, answers as long as they may be 9 min), loading"),
        (None, 2, "about 24 min on 2 actors"),
        (4, 2, "about 12 min on 4 actors"),
        (100, None, "about 5 min on 10 actors"),
    ],
)
def test_lines_for_a_person(num_actors, room, text):
    config = config_of(
        "s", engine="transformers", num_actors=num_actors, price={"per_actor_hour": 10, "currency": "EUR"}
    )
    found = Forecast(SPLITS, 10, has_tokenizer=True, actor_time=ActorTime(720.0, 2160.0, "a guess"))
    lines = describe(found, config, room)
    assert lines[:4] == (
        "setting                  task                 rows    prompt tokens  answer tokens at most",
        "IND_Diverse_Instruction  Product_Matching      253           65,274                  6,072",
        "OOD_Diverse_Instruction  Answer_Generation  10,000  about 1,200,000              1,000,000",
        "total                                       10,253  about 1,265,274              1,006,072",
    )
    assert text in lines[-3]
    assert lines[-2] == "speed: taken as a guess"
    assert lines[-1] == "price: at most about 8.00 EUR"
