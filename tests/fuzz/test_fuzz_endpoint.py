"""What a foreign endpoint may answer to engine=openai: each prompt gets an answer that Parquet holds, or a reason."""

import gzip
import json
import threading

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecellm.config import OpenAISettings
from ecellm.errors import InputError
from ecellm.inference.engines import reply_limits
from ecellm.inference.engines.openai_engine import OpenAIEngine
from ecellm.inference.request import Answer, Failure, Request
from ecellm.schema import PREDICTION_ERRORS, PREDICTIONS
from tests.fuzz.hostile_endpoint import running_hostile_endpoint
from tests.fuzz.mutations import changed_json, damaged_bytes
from tests.fuzz.outcomes import fuzzed

ASKED = [Request("row 0", "a prompt", (), 6, is_one_line=True)]
ANSWERS = {
    "chat": {
        "id": "x",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    },
    "completions": {
        "choices": [{"finish_reason": "length", "text": "yes"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    },
}
ERROR = {"error": {"message": "no", "type": "t", "code": "c", "param": None, "metadata": {}}}
STATUSES = [200, 200, 200, 200, 201, 204, 206, 400, 401, 403, 404, 413, 422, 451, 500, 503, 599]


@pytest.fixture(scope="module")
def endpoint():
    with running_hostile_endpoint() as server:
        yield server


def ask(endpoint, api="chat", **settings):
    """Ask once; return the outcome, which fits the tables that predict writes, or the message of a refusal."""
    fields = {"api_key_env": None, "max_retries": 0, "timeout_seconds": 20.0, "api": api, **settings}
    engine = OpenAIEngine("m", OpenAISettings(base_url=endpoint.base_url, **fields), "greedy", 1)
    try:
        ((place, outcome),) = engine.answer(ASKED, None)
    except InputError as error:
        assert "127.0.0.1" in str(error)
        assert len(str(error)) < 1000
        return str(error)
    assert place == 0
    if isinstance(outcome, Answer):
        row = {
            "response": outcome.text, "finish_reason": outcome.finish_reason,
            "num_prompt_tokens": outcome.num_prompt_tokens or 0, "num_completion_tokens": outcome.num_tokens,
        }  # fmt: skip
        columns = [PREDICTIONS.field(name) for name in row]
        pa.Table.from_pylist([row], pa.schema(columns)).validate(full=True)
    else:
        assert isinstance(outcome, Failure)
        assert 0 < len(outcome.reason) < 1000
        pa.array([outcome.reason], PREDICTION_ERRORS.field("reason").type).validate(full=True)
    return outcome


@pytest.mark.parametrize("api", ["chat", "completions"])
@fuzzed(2)
@given(data=st.data())
def test_any_body(endpoint, api, data):
    values = [ANSWERS[api], ERROR]
    body = data.draw(st.one_of(changed_json(values), damaged_bytes([json.dumps(value).encode() for value in values])))
    endpoint.answer_with(body, data.draw(st.sampled_from(STATUSES)))
    ask(endpoint, api)


def body(**changes):
    """Return the bytes of a chat's answer whose choice is changed."""
    answer = json.loads(json.dumps(ANSWERS["chat"]))
    answer["choices"][0] |= changes
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (body(message={"content": "half \ud83d"}), "half a character"),
        (body(message={"content": [{"type": "text", "text": "yes"}]}), "no text, but list"),
        (body(message={"content": {"a": 1}}), "no text, but"),
        (json.dumps({"choices": {"0": "x"}}).encode(), "no choices"),
        (json.dumps({"choices": "yes"}).encode(), None),
        (b"[" * 100_000, None),
        (b'{"choices": [', None),
        (b"", None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_an_answer_that_is_none_is_a_reason_of_its_row(endpoint, content, told):
    endpoint.answer_with(content)
    outcome = ask(endpoint)
    assert isinstance(outcome, Failure)
    assert told is None or told in outcome.reason


@pytest.mark.parametrize("count", ["5", -1, 2**40, 1.5, float("nan"), None, [1], {"a": 1}])
def test_token_counts_that_cannot_be_true_are_not_taken(endpoint, count):
    usage = {"prompt_tokens": count, "completion_tokens": count}
    endpoint.answer_with(json.dumps(ANSWERS["chat"] | {"usage": usage}).encode())
    outcome = ask(endpoint)
    assert (outcome.text, outcome.num_tokens, outcome.num_prompt_tokens) == ("yes", 0, None)


def test_a_body_without_end_is_left_after_16_mib(endpoint):
    def parts():
        yield b'{"choices": "'
        while True:
            yield b"x" * (1 << 20)

    endpoint.num_sent = 0
    endpoint.answer_with(parts)
    outcome = ask(endpoint)
    assert "longer than 16 MiB" in outcome.reason
    assert endpoint.num_sent < 64 << 20  # what buffers on the way hold comes on top


def test_a_body_that_comes_in_drops_is_left_in_the_end(endpoint, monkeypatch):
    monkeypatch.setattr(reply_limits, "_MAX_SILENCES", 0.02)
    ended = threading.Event()

    def parts():
        while not ended.wait(0.05):
            yield b" "

    endpoint.answer_with(parts)
    outcome = ask(endpoint)
    ended.set()
    assert "had not come to its end" in outcome.reason


def test_a_compressed_body_is_not_unpacked(endpoint):
    bomb = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    endpoint.answer_with(bomb, **{"Content-Encoding": "gzip"})
    assert "compressed ('gzip'), which nobody asked for" in ask(endpoint).reason
