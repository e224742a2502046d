"""The engine `openai`: any endpoint that speaks OpenAI's API, asked over HTTP.

In: requests. Out: each answer as it comes, with at most `concurrency` requests under way. What is worth another try
(408, 409, 429, 5xx, a lost connection) the official client tries again, later and later, or when Retry-After says so.
What still fails, or is wrong with one prompt, is a Failure of its row; what no other row would escape (no right, no
such model, no such host) stops everything at once.

The key comes from the environment of the node and goes nowhere but into the requests' header.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ecellm.config import PredictConfig
from ecellm.config.predict import OpenAISettings
from ecellm.errors import InputError
from ecellm.inference.complete import completed
from ecellm.inference.engines.reply_limits import ReplyError, bounded_client
from ecellm.inference.request import Answer, Failure, Request
from ecellm.redaction import redacted_text

_MAX_REASON_LENGTH = 300
_MAX_CONNECT_SECONDS = 10.0
_MOST_TOKENS = 2**31 - 1  # what the predictions' columns hold
# The client tries again by itself where Retry-After asks for no more than this, in seconds.
_LONGEST_RETRY_AFTER = 120.0
# What the client is given where the endpoint wants no key: it demands one.
_PLACEHOLDER_KEY = "none"
_NO_CHOICE = (
    "decoding=choice compares the probabilities of all choices, which an endpoint does not tell: "
    "use decoding=greedy or paper with engine=openai"
)
_NO_CREDIT = "the account has no credit left"
_FIELDS = "the model does not take what is sent: see openai.max_tokens_field, openai.sends_sampling and decoding"
# What to do about an error that no other row would escape, by the endpoint's own code, then by status.
_ADVICE_BY_CODE = {
    "insufficient_quota": _NO_CREDIT,
    "invalid_api_key": "check the key",  # pragma: allowlist secret
    "model_not_found": "check model",
    "unsupported_parameter": _FIELDS,
    "unsupported_value": _FIELDS,
}
_ADVICE_BY_STATUS = {
    401: "check the key",
    402: _NO_CREDIT,
    403: "the key has no right to this",
    404: "check model and openai.base_url",
    405: "check openai.base_url",
}
# Causes of a connection error, by name, as the client has changed its HTTP library before: no host, no connection.
_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}


def check_openai(config: PredictConfig) -> None:
    """Make sure that the endpoint can be asked from this node. It is not asked: that may cost money.

    Raises:
        InputError: decoding is `choice`, or the package or the key is missing.
    """
    _check(config.openai, config.decoding)


def _check(settings: OpenAISettings, decoding: str) -> str:
    """Return the key."""
    if decoding == "choice":
        raise InputError(_NO_CHOICE)
    _require_package()
    return _key(settings)


def _require_package() -> None:
    try:
        import openai  # noqa: F401
    except ImportError:
        raise InputError("engine=openai needs the openai package on the nodes: pip install 'ecellm[openai]'") from None


def _key(settings: OpenAISettings) -> str:
    """Return the key from this node's environment, without the line end that files of secrets often have."""
    if settings.api_key_env is None:
        return _PLACEHOLDER_KEY
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise InputError(
            f"no key in the environment variable {settings.api_key_env} on the node: set it in the environment of all "
            "nodes, or openai.api_key_env=null for an endpoint that wants none"
        )
    # Such a key would fail in the HTTP library, whose message holds the whole header.
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"the key in the environment variable {settings.api_key_env} has characters that no key has")
    return key


class OpenAIEngine:
    """Asks one model of an OpenAI-compatible endpoint.

    Greedy is temperature 0. The paper's sampling sends a seed of each row's own; that the same seed gives the same
    answer is best effort of the endpoint, as is that greedy answers repeat.
    """

    def __init__(self, model: str, settings: OpenAISettings, decoding: str, seed: int) -> None:
        """Make an engine; the endpoint is not asked.

        Args:
            model: its name at the endpoint.
            settings: the endpoint, and how it is asked.
            decoding: greedy or paper.
            seed: seeds the rows' seeds.

        Raises:
            InputError: decoding is `choice`, or the package or the key is missing on this node.
        """
        self._key = _check(settings, decoding)
        self._model = model
        self._settings = settings
        self._decoding = decoding
        self._seed = seed
        # A line for each request, and for each further try, is too much.
        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def answer(self, requests: Sequence[Request], adapter: str | None) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer requests; closed early, what is under way is cancelled.

        Args:
            requests: at least one.
            adapter: always None: an endpoint's adapter has a model name of its own.

        Yields:
            (place of the request, its answer or why there is none), each place once, as they come.

        Raises:
            InputError: no other row would be answered either: the endpoint refuses all, or is not reached, or asks to
                wait for minutes.
        """
        assert adapter is None
        yield from _in_a_thread(lambda put: self._ask_all(requests, put))

    async def _ask_all(self, requests: Sequence[Request], put: Callable[[Any], None]) -> None:
        waiting = iter(enumerate(requests))

        async def ask_one_after_the_other(client: Any) -> None:
            for place, request in waiting:
                put((place, await self._ask(client, request)))

        async with self._new_client() as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self._settings.concurrency, len(requests))):
                        group.create_task(ask_one_after_the_other(client))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

    def _new_client(self) -> Any:
        import openai

        seconds = self._settings.timeout_seconds
        timeout = openai.Timeout(seconds, connect=min(seconds, _MAX_CONNECT_SECONDS))
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._settings.base_url,
            max_retries=self._settings.max_retries,
            timeout=timeout,
            http_client=bounded_client(timeout, seconds),
        )

    async def _ask(self, client: Any, request: Request) -> Answer | Failure:
        import openai

        arguments = self._arguments(request)
        api = client.completions if self._settings.api == "completions" else client.chat.completions
        try:
            reply = await api.create(**arguments)
        # ValueError: a prompt that is no valid Unicode, or a reply that is no valid JSON; RecursionError: a deep reply.
        except (openai.OpenAIError, ReplyError, ValueError, RecursionError) as error:
            caught = error
        else:
            return self._read(reply, request)
        # Out here, so that what is raised does not carry the client's error, which may hold the key.
        return self._failure(caught)

    def _arguments(self, request: Request) -> dict[str, Any]:
        # No stop strings for an answer of one line: many models begin with a line end, which would be all of it.
        arguments: dict[str, Any] = {
            "model": self._model,
            self._settings.max_tokens_field: request.max_new_tokens + self._settings.reasoning_tokens,
            **(self._sampling(request) if self._settings.sends_sampling else {}),
        }
        if self._settings.extra_body:
            arguments["extra_body"] = self._settings.extra_body
        if self._settings.api == "completions":
            return {**arguments, "prompt": request.prompt}
        return {**arguments, "messages": [{"role": "user", "content": request.prompt}]}

    def _sampling(self, request: Request) -> dict[str, Any]:
        if self._decoding != "paper":
            return {"temperature": 0}
        # Here, as it loads torch.
        from ecellm.inference.sampling import PAPER_TEMPERATURE, PAPER_TOP_P, row_seed

        return {"temperature": PAPER_TEMPERATURE, "top_p": PAPER_TOP_P, "seed": row_seed(self._seed, request.key)}

    def _read(self, reply: Any, request: Request) -> Answer | Failure:
        # The client hands out fields as they came, so any may be missing; text instead of JSON comes as text.
        if isinstance(reply, str):
            raise InputError(f"{self._settings.base_url} answers with a page, not with JSON: check openai.base_url")
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list | tuple) or not choices:
            return Failure(self._one_line(f"no choices in the reply: {getattr(reply, 'error', None) or 'empty'}"))
        choice = choices[0]
        finish_reason = str(getattr(choice, "finish_reason", None))
        if finish_reason in {"content_filter", "error"}:
            return Failure(self._one_line(f"{finish_reason}: {getattr(choice, 'error', None) or 'no answer'}"))
        text = _text(choice)
        if not isinstance(text, str):
            return Failure(f"the answer in the reply is no text, but {type(text).__name__}")
        if not text.isascii() and text.encode("utf-8", "replace").decode() != text:
            return Failure("the answer in the reply holds half a character, which is no text")
        complete = completed(text, is_one_line=request.is_one_line)
        is_cut_short = complete is None and finish_reason == "length"
        usage = getattr(reply, "usage", None)
        return Answer(
            text=text if complete is None else complete,
            finish_reason="length" if is_cut_short else "stop",
            # All that was written and is paid for, also what stands behind a complete line; 0 = the endpoint does not
            # say: without its tokenizer they cannot be counted.
            num_tokens=_count(usage, "completion_tokens") or 0,
            num_prompt_tokens=_count(usage, "prompt_tokens"),
        )

    def _failure(self, error: Exception) -> Failure:
        """Return why one row has no answer.

        Raises:
            InputError: no other row would have one now either.
        """
        reason = self._one_line(_described(error))
        where = f"{self._settings.base_url}, model {self._model}"
        advice = _advice(error)
        if advice == "check the key" and self._settings.api_key_env:
            advice = f"check the key in the environment variable {self._settings.api_key_env}"
        if advice:
            raise InputError(f"{where}: {reason}: {advice}")
        if type(error.__cause__).__name__ in _UNREACHABLE:
            raise InputError(f"{where}: not reached in {self._settings.max_retries + 1} tries: {reason}")
        if _retry_after(error) > _LONGEST_RETRY_AFTER:
            raise InputError(f"{where}: {reason}: wait {_retry_after(error):,.0f} s, then start again")
        return Failure(reason)

    def _one_line(self, text: str) -> str:
        """Return one line of `text`, shortened, without the key. The key goes first: half of it is still a secret."""
        if self._key != _PLACEHOLDER_KEY:
            text = text.replace(self._key, "[redacted]")
        return " ".join(redacted_text(text).split())[:_MAX_REASON_LENGTH]


def _text(choice: Any) -> Any:
    """Return a choice's text; an answer that the model refuses to give is its answer."""
    message = getattr(choice, "message", None)
    return getattr(choice, "text", None) or getattr(message, "content", None) or getattr(message, "refusal", None) or ""


def _count(usage: Any, name: str) -> int | None:
    """Return a number of tokens as the endpoint tells it; None where it tells none that could be true."""
    number = getattr(usage, name, None)
    return number if isinstance(number, int) and 0 <= number <= _MOST_TOKENS else None


def _described(error: Exception) -> str:
    """Return status code and message of an error; the message is the endpoint's own, where it has one."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, Mapping) else None
    cause = f" {type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""
    status = getattr(error, "status_code", None)
    return f"{status or type(error).__name__}: {message or body or f'{error}{cause}'}"


def _advice(error: Any) -> str | None:
    """Return what the user must do about an error that no other row would escape; None for one that others may."""
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)
    # OpenRouter refuses a single prompt so, and says in the metadata who does.
    if status == 403 and isinstance(body, Mapping) and body.get("metadata"):
        return None
    return _ADVICE_BY_CODE.get(getattr(error, "code", None) or "") or _ADVICE_BY_STATUS.get(status or 0)


def _retry_after(error: Any) -> float:
    """Return the seconds that an endpoint asks to wait; 0 where it does not, or gives a date."""
    response = getattr(error, "response", None)
    try:
        return float(response.headers.get("retry-after", 0)) if response is not None else 0.0
    except ValueError:
        return 0.0


def _in_a_thread(work: Callable[[Callable[[Any], None]], Coroutine[Any, Any, None]]) -> Iterator[Any]:
    """Run `work(put)` on an event loop in a thread of its own; yield what it puts, as it comes; raise what it raises.

    A thread: requests go on while the caller writes down what it has, and the caller may itself run on a loop. Closed
    early, the work is cancelled, and over when this returns.
    """
    outcomes: SimpleQueue[Any] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(outcomes.put))
    task.add_done_callback(outcomes.put)
    thread = Thread(target=_run, args=(loop, task), name="openai", daemon=True)
    thread.start()
    try:
        while (outcome := outcomes.get()) is not task:
            yield outcome
        task.result()
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    loop.run_until_complete(asyncio.wait({task}))
    if not task.cancelled():
        task.exception()  # marks it as seen, or asyncio complains of it where the caller has left before
