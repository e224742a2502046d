"""The engine `openai` against a real server process with a real model."""

import gc
import logging
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from ecellm.config import OpenAISettings, PredictConfig
from ecellm.errors import InputError
from ecellm.inference.engines.openai_engine import OpenAIEngine, check_openai
from ecellm.inference.request import Answer, Failure, Request
from tests import openai_server
from tests.conftest import ROOT
from tests.openai_server import running_openai_server

KEY = "sk-tests-0123456789"  # pragma: allowlist secret
WITH_KEY = {"api_key_env": "TESTS_KEY"}  # pragma: allowlist secret
SOON = {"Retry-After": "0.01"}
PROMPTS = [f"the blue lamp {number} is it good? " + "red " * (number % 5) for number in range(12)]


@pytest.fixture(scope="module")
def server(tiny_model):
    with running_openai_server(tiny_model) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(server, monkeypatch):
    """Every test meets a server at rest, and a node with a key."""
    server.behave(key=KEY)
    monkeypatch.setenv("TESTS_KEY", KEY + "\n")


def engine(server, decoding="greedy", model=openai_server.MODEL, seed=1, **settings):
    given = {"base_url": server.base_url, "concurrency": 4, **WITH_KEY, **settings}
    return OpenAIEngine(model, OpenAISettings(**given), decoding, seed)


def requests(prompts=PROMPTS, **fields):
    given = {"max_new_tokens": 6, "prompt_ids": (), **fields}
    return [Request(key=f"row {number}", prompt=prompt, **given) for number, prompt in enumerate(prompts)]


def answers(engine, asked):
    """All outcomes, in the requests' order; each came once."""
    found = list(engine.answer(asked, None))
    assert sorted(place for place, _ in found) == list(range(len(asked)))
    return [answer for _, answer in sorted(found, key=lambda pair: pair[0])]


def local_answers(tiny_model, asked):
    from transformers import AutoTokenizer

    from ecellm.inference.engines.transformers_engine import TransformersEngine, load_model

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = load_model(tiny_model, None, {}, precision="fp32", use_gpu=False)
    local = TransformersEngine(model, tokenizer, decoding="greedy", seed=1, max_batch_size=4)
    with_ids = [
        Request(request.key, request.prompt, tuple(tokenizer(request.prompt)["input_ids"]), request.max_new_tokens)
        for request in asked
    ]
    return with_ids, answers(local, with_ids)


def test_greedy_answers_are_those_of_the_local_model_by_both_apis(server, tiny_model):
    with_ids, local = local_answers(tiny_model, requests())
    for api in ("chat", "completions"):
        asked = answers(engine(server, api=api), requests())
        assert [(a.text, a.finish_reason) for a in asked] == [(a.text, a.finish_reason) for a in local]
        assert [a.num_prompt_tokens for a in asked] == [len(request.prompt_ids) for request in with_ids]
        assert all(a.num_tokens == 6 for a in asked if a.finish_reason == "length")
    assert len({a.text for a in local}) > 1
    body = server.seen()["bodies"][0]
    assert body == {
        "model": "tiny",
        "temperature": 0,
        "max_tokens": 6,
        "messages": [{"role": "user", "content": body["messages"][0]["content"]}],
    }


def test_papers_sampling_is_seeded_by_row_and_seed(server):
    asked = requests(PROMPTS[:6], max_new_tokens=4)
    first, again = (answers(engine(server, "paper", max_tokens_field="max_completion_tokens"), asked) for _ in "ab")
    assert first == again
    bodies = server.seen()["bodies"]
    assert {(body["temperature"], body["top_p"], body["max_completion_tokens"]) for body in bodies} == {(0.15, 0.95, 4)}
    seeds = {body["seed"] for body in bodies}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)
    server.behave()
    answers(engine(server, "paper", seed=2), asked)
    assert not seeds & {body["seed"] for body in server.seen()["bodies"]}


@pytest.mark.parametrize("decoding", ["greedy", "paper"])
def test_a_model_that_reasons_is_sent_what_it_takes(server, decoding):
    settings = {"sends_sampling": False, "reasoning_tokens": 20, "extra_body": {"reasoning_effort": "none"}}
    answers(engine(server, decoding, **settings), requests(PROMPTS[:1], max_new_tokens=4))
    (body,) = server.seen()["bodies"]
    assert body.pop("messages")
    assert body == {"model": "tiny", "max_tokens": 24, "reasoning_effort": "none"}


def test_an_answer_of_one_line_is_cut_behind_it():
    """What the model goes on to write is paid for, and counted."""

    text = "\n yes, it is\nAnd"
    usage = SimpleNamespace(prompt_tokens=7, completion_tokens=6)
    reply = SimpleNamespace(choices=[SimpleNamespace(text=text, finish_reason="length")], usage=usage)
    asker = OpenAIEngine("tiny", OpenAISettings(api_key_env=None), "greedy", 1)
    [whole], [line] = requests(["a"]), requests(["a"], is_one_line=True)
    assert asker._read(reply, whole) == Answer(text, "length", 6, num_prompt_tokens=7)
    assert asker._read(reply, line) == Answer("\n yes, it is", "stop", 6, num_prompt_tokens=7)
    assert "stop" not in asker._arguments(line)


def test_an_endpoint_that_counts_no_tokens(server):
    server.behave(has_usage=False)
    assert {(a.num_tokens, a.num_prompt_tokens) for a in answers(engine(server), requests())} == {(0, None)}


def test_what_fails_for_a_while_is_asked_again_and_nothing_else_is(server):
    server.behave(statuses=[429, 500, 408, 409, 503], headers=SOON)
    assert all(isinstance(answer, Answer) for answer in answers(engine(server), requests()))
    seen = server.seen()
    assert set(seen["times_answered"].values()) == {1}
    assert sum(seen["times_asked"].values()) == len(PROMPTS) + 5
    assert seen["most_at_once"] == 4


def test_retry_after_is_kept_to(server):
    server.behave(statuses=[429], headers={"Retry-After": "1"})
    start = time.monotonic()
    answers(engine(server), requests(PROMPTS[:1]))
    assert time.monotonic() - start >= 1  # by itself the client waits half a second


def test_a_row_that_fails_to_the_end_leaves_the_others(server):
    server.behave(statuses=[500, 500], headers=SOON)
    found = answers(engine(server, concurrency=1, max_retries=1), requests(PROMPTS[:3]))
    assert found[0] == Failure("500: told to")
    assert all(isinstance(answer, Answer) for answer in found[1:])
    assert list(server.seen()["times_asked"].values()) == [2, 1, 1]


def test_what_is_wrong_with_one_prompt_is_its_failure_alone(server):
    markers = [openai_server.TOO_LONG, openai_server.FLAGGED, openai_server.FILTERED, openai_server.NO_CHOICES]
    found = answers(engine(server), requests([*PROMPTS[:4], *markers, "half a pair \ud800"]))
    assert all(isinstance(answer, Answer) for answer in found[:4])
    reasons = [failure.reason for failure in found[4:]]
    assert reasons[0].startswith("400: maximum context length is 1024 tokens. Shorten it. ")
    assert len(reasons[0]) == 300
    assert reasons[1] == "403: your input was flagged"
    assert reasons[2] == "content_filter: no answer"
    assert reasons[3].startswith("no choices in the reply: ")
    assert "provider is down" in reasons[3]
    assert reasons[4].startswith("UnicodeEncodeError: ")
    assert not any("\n" in reason for reason in reasons)


def test_a_connection_that_ends_is_that_rows_failure(server):
    found = answers(engine(server, max_retries=1), requests([*PROMPTS[:3], openai_server.HANG_UP]))
    assert [type(answer) for answer in found] == [Answer] * 3 + [Failure]
    assert found[3].reason.startswith("APIConnectionError: Connection error. RemoteProtocolError: ")
    assert server.seen()["times_asked"][openai_server.HANG_UP] == 2


def test_an_answer_that_does_not_come_is_that_rows_failure(server):
    server.behave(seconds=5)
    found = answers(engine(server, max_retries=0, timeout_seconds=0.2), requests(PROMPTS[:1]))
    assert found[0].reason.startswith("APITimeoutError: Request timed out.")


def test_answers_come_one_by_one_and_no_more_are_asked_than_may_be(server):
    server.behave(seconds=0.1)
    came = []
    for _ in engine(server, concurrency=3).answer(requests(), None):
        came.append(time.monotonic())
        assert server.seen()["at_once"] <= 3
    assert server.seen()["most_at_once"] == 3
    assert came[-1] - came[0] > 0.25  # four rounds


def test_requests_go_on_while_the_caller_is_busy(server):
    outcomes = engine(server).answer(requests(), None)
    next(outcomes)
    wait_for(lambda: len(server.seen()["times_answered"]) == len(PROMPTS))
    assert len(list(outcomes)) == len(PROMPTS) - 1


def test_who_stops_early_leaves_nothing_under_way(server):
    server.behave(seconds=1)
    outcomes = engine(server).answer(requests(), None)
    next(outcomes)
    outcomes.close()
    assert "openai" not in {thread.name for thread in threading.enumerate()}
    wait_for(lambda: server.seen()["at_once"] == 0)
    seen = server.seen()
    assert seen["num_left"] >= 1
    assert sum(seen["times_asked"].values()) <= 8


def wait_for(is_so):
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_wrong_key_stops_at_once_and_is_nowhere_told(server, monkeypatch, caplog):
    secret = "sk-wrong-9876543210"  # pragma: allowlist secret
    monkeypatch.setenv("TESTS_KEY", secret)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InputError) as error:
        list(engine(server).answer(requests(), None))
    text = str(error.value)
    assert text.startswith(f"{server.base_url}, model tiny: 401: Incorrect API key provided: [redacted]. You can")
    assert text.endswith("check the key in the environment variable TESTS_KEY")
    assert error.value.__cause__ is None
    assert secret not in caplog.text + repr(error.value.__context__)
    assert sum(server.seen()["times_asked"].values()) <= 4


def test_an_echoed_key_is_redacted_in_a_rows_reason_before_that_is_cut(server, monkeypatch):
    found = engine(server)._one_line("x" * 290 + KEY + " and http://me:word@host/?api_key=abc")
    assert found == "x" * 290 + "[redacted]"
    assert engine(server)._one_line(f"a {KEY} b") == "a [redacted] b"


@pytest.mark.parametrize(
    ("manners", "settings", "message"),
    [
        ({}, {"model": "gpt-9"}, "404: The model `gpt-9` does not exist: check model"),
        ({"statuses": [403] * 9}, {}, "403: told to: the key has no right to this"),
        ({"statuses": [402] * 9}, {}, "402: told to: the account has no credit left"),
        ({"statuses": [429] * 9, "code": "insufficient_quota", "headers": SOON}, {"max_retries": 0}, "no credit left"),
        (
            {"statuses": [400] * 9, "code": "unsupported_parameter"},
            {},
            "see openai.max_tokens_field, openai.sends_sampling and decoding",
        ),
        ({"statuses": [429] * 9, "headers": {"Retry-After": "900"}}, {}, "429: told to: wait 900 s, then start again"),
    ],
    ids=["no model", "no right", "payment", "quota", "parameter", "wait"],
)
def test_what_no_other_row_would_escape_stops_at_once(server, manners, settings, message):
    server.behave(**manners)
    with pytest.raises(InputError, match=message):
        list(engine(server, **settings).answer(requests(), None))
    assert sum(server.seen()["times_asked"].values()) <= 8


def test_a_wrong_address_stops_at_once(server):
    with pytest.raises(InputError, match="with a page, not with JSON: check openai.base_url"):
        list(engine(server).answer(requests([openai_server.PAGE]), None))
    with pytest.raises(InputError, match="404: no such path: .*: check model and openai.base_url"):
        list(engine(server, base_url=f"{server.url}/v9").answer(requests(), None))
    for url in ("http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"):
        with pytest.raises(InputError, match="not reached in 1 tries: APIConnectionError: Connection error. Connect"):
            list(engine(server, base_url=url, max_retries=0).answer(requests(), None))


def test_an_endpoint_without_keys(server):
    server.behave(key="none")
    assert len(answers(engine(server, api_key_env=None), requests(PROMPTS[:2]))) == 2


def test_requests_are_not_logged(server, caplog):
    caplog.set_level(logging.INFO)
    server.behave(statuses=[500], headers=SOON)
    answers(engine(server), requests(PROMPTS[:2]))
    gc.collect()
    assert not caplog.records


def predict_config(**fields):
    return PredictConfig(samples_dir="samples", output_dir="out", model="tiny", engine="openai", **fields)


def test_the_check_names_what_is_missing(monkeypatch):
    check_openai(predict_config(openai=WITH_KEY))
    check_openai(predict_config(openai={"api_key_env": None}))
    with pytest.raises(InputError, match="use decoding=greedy or paper with engine=openai"):
        check_openai(predict_config(openai=WITH_KEY, decoding="choice"))
    with pytest.raises(InputError, match="no key in the environment variable TESTS_NO_KEY on the node"):
        check_openai(predict_config(openai={"api_key_env": "TESTS_NO_KEY"}))  # pragma: allowlist secret
    monkeypatch.setenv("TESTS_KEY", "sk-two\nlines")  # pragma: allowlist secret
    with pytest.raises(InputError, match="TESTS_KEY has characters that no key has") as error:
        check_openai(predict_config(openai=WITH_KEY))
    assert "sk-two" not in str(error.value)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'ecellm\[openai\]'"):
        check_openai(predict_config(openai=WITH_KEY))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "https://me:word@host/v1"}, "base_url"),  # pragma: allowlist secret
        ({"base_url": "https://host/v1?key=abc"}, "base_url"),
        ({"api": "completions", "max_tokens_field": "max_completion_tokens"}, "knows max_tokens alone"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValidationError, match=message):
        OpenAISettings(**settings)


def test_it_works_in_a_ray_actor_that_runs_an_event_loop(server, local_ray):
    import ray

    settings = OpenAISettings(base_url=server.base_url, api_key_env=None)

    @ray.remote(num_cpus=1)
    class Actor:
        async def ask(self, asked):
            return sorted(OpenAIEngine("tiny", settings, "greedy", 1).answer(asked, None), key=lambda pair: pair[0])

    server.behave()
    actor = Actor.remote()
    try:
        found = ray.get(actor.ask.remote(requests()))
    finally:
        ray.kill(actor)
    assert [answer for _, answer in found] == answers(engine(server), requests())


def test_the_server_ends_with_its_parent(tiny_model):
    """Even where the parent is killed: its end of the pipe is gone."""
    code = (
        "import os, sys; from tests.openai_server import running_openai_server\n"
        "with running_openai_server(sys.argv[1]) as server:\n"
        "    print(server.url, flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, tiny_model]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert ran.returncode == -9
    wait_for(lambda: not is_there(openai_server.OpenAIServer(ran.stdout.strip())))


def is_there(server):
    try:
        server.seen()
    except OSError:
        return False
    return True
