"""A small OpenAI-compatible endpoint with a real, tiny model, as a process of its own, that misbehaves as told.

    with running_openai_server(model_directory) as server:
        settings = OpenAISettings(base_url=server.base_url, api_key_env=None)
        server.behave(statuses=[429, 500], headers={"Retry-After": "1"})  # what the next requests get; forgets the rest
        ...
        seen = server.seen()
        assert seen["most_at_once"] <= 4
        assert seen["times_asked"]["a prompt"] == 2  # by prompt; times_answered counts the good answers alone

It serves /v1/models, /v1/chat/completions (one user message, whose text is the prompt as it is: the tiny model has no
chat template) and /v1/completions. Greedy at temperature 0, else drawn from the request's seed. Its manners are the
fields of `Manners`. A prompt that holds one of the markers below is treated in a way of its own. It ends with the
process that started it, even where that is killed.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

MODEL = "tiny"  # the one model name that is known
TOO_LONG = "[too long]"  # 400, as for a prompt beyond the context length
FLAGGED = "[flagged]"  # 403 of this prompt alone, as OpenRouter does
FILTERED = "[filtered]"  # finish_reason content_filter
NO_CHOICES = "[no choices]"  # 200 with an error instead of choices, as OpenRouter does
HANG_UP = "[hang up]"  # the connection ends without an answer
PAGE = "[page]"  # 200 with a web page, as under a wrong address


@dataclass
class Manners:
    """How it behaves, from when it is told."""

    statuses: list[int] = field(default_factory=list)  # what the next requests get, one each, instead of an answer
    headers: dict[str, str] = field(default_factory=dict)  # of those replies
    code: str | None = None  # the error code in those replies
    seconds: float = 0.0  # how long a good answer takes at least
    key: str | None = None  # other keys get 401, which repeats the key that was sent
    has_usage: bool = True  # whether token counts are told


@dataclass
class Seen:
    """What came, since `behave` was called last."""

    bodies: list[dict[str, Any]] = field(default_factory=list)  # in order
    times_asked: Counter[str] = field(default_factory=Counter)  # by prompt
    times_answered: Counter[str] = field(default_factory=Counter)  # by prompt, good answers
    at_once: int = 0
    most_at_once: int = 0
    num_left: int = 0  # clients that left before their answer


class TinyModel:
    """Answers one prompt at a time with a transformers model."""

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self._lock = threading.Lock()

    def complete(self, prompt: str, body: dict[str, Any]) -> tuple[str, str, int, int]:
        """Return text, finish reason, tokens of the prompt and of the answer."""
        inputs = self._tokenizer(prompt, return_tensors="pt")
        num_prompt_tokens = inputs["input_ids"].shape[1]
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
        sampling = {"do_sample": True, "temperature": body.get("temperature", 0), "top_p": body.get("top_p", 1.0)}
        with self._lock, self._torch.inference_mode():
            self._torch.manual_seed(body.get("seed") or time.time_ns())
            output = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=limit,
                **(sampling if body.get("temperature", 0) else {"do_sample": False}),
            )
        ids = output[0, num_prompt_tokens:].tolist()
        finish_reason = "stop" if ids[-1] == self._tokenizer.eos_token_id else "length"
        return self._tokenizer.decode(ids, skip_special_tokens=True), finish_reason, num_prompt_tokens, len(ids)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, model: Future[TinyModel]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.lock = threading.Lock()
        self.manners = Manners()
        self.seen = Seen()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: in two, the second waits for the client's word on the first
    server: _Server

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._give(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        elif self.path == "/seen":
            with self.server.lock:
                self._give(200, vars(self.server.seen))
        else:
            self._fail(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/behave":
            with self.server.lock:
                self.server.manners, self.server.seen = Manners(**body), Seen()
            self._give(200, {})
        elif self.path in ("/v1/chat/completions", "/v1/completions"):
            self._counted(body)
        else:
            self._fail(404, f"no such path: {self.path}")

    def _counted(self, body: dict[str, Any]) -> None:
        prompt = body["prompt"] if self.path == "/v1/completions" else body["messages"][0]["content"]
        server = self.server
        with server.lock:
            manners, seen = server.manners, server.seen
            seen.bodies.append(body)
            seen.times_asked[prompt] += 1
            seen.at_once += 1
            seen.most_at_once = max(seen.most_at_once, seen.at_once)
            status = manners.statuses.pop(0) if manners.statuses else None
        try:
            if not self._refused(body, prompt, manners, status):
                self._answer(body, prompt, manners, seen)
        finally:
            with server.lock:
                seen.at_once -= 1

    def _refused(self, body: dict[str, Any], prompt: str, manners: Manners, status: int | None) -> bool:
        """Whether there is no answer, and the reply is given."""
        key = self.headers["Authorization"].removeprefix("Bearer ")
        if HANG_UP in prompt:
            self.close_connection = True
        elif status is not None:
            self._fail(status, "told to", manners.code, headers=manners.headers)
        elif manners.key is not None and key != manners.key:
            self._fail(401, f"Incorrect API key provided: {key}.\nYou can find your key elsewhere.", "invalid_api_key")
        elif body["model"] != MODEL:
            self._fail(404, f"The model `{body['model']}` does not exist", "model_not_found")
        elif TOO_LONG in prompt:
            self._fail(400, "maximum context length is 1024 tokens.\n" + "Shorten it. " * 99, "context_length_exceeded")
        elif FLAGGED in prompt:
            self._fail(403, "your input was flagged", metadata={"reasons": ["violence"]})
        elif NO_CHOICES in prompt:
            self._give(200, {"error": {"code": 502, "message": "provider is down"}})
        elif PAGE in prompt:
            self._send(200, b"<html>welcome</html>", {"Content-Type": "text/html"})
        else:
            return False
        return True

    def _answer(self, body: dict[str, Any], prompt: str, manners: Manners, seen: Seen) -> None:
        text, finish_reason, num_prompt_tokens, num_tokens = self.server.model.result().complete(prompt, body)
        # A client sends nothing while it waits: something to read is its end.
        if manners.seconds and select.select([self.connection], [], [], manners.seconds)[0]:
            with self.server.lock:
                seen.num_left += 1
            self.close_connection = True
            return
        if FILTERED in prompt:
            text, finish_reason = "", "content_filter"
        is_chat = self.path == "/v1/chat/completions"
        content = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        usage = {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": num_tokens,
            "total_tokens": num_prompt_tokens + num_tokens,
        }
        with self.server.lock:
            seen.times_answered[prompt] += 1
        self._give(
            200,
            {
                "id": "answer",
                "object": "chat.completion" if is_chat else "text_completion",
                "created": int(time.time()),
                "model": MODEL,
                "choices": [{"index": 0, "finish_reason": finish_reason, "logprobs": None, **content}],
                **({"usage": usage} if manners.has_usage else {}),
            },
        )

    def _fail(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        error = {"message": message, "type": "error", "param": None, "code": code, **more}
        self._give(status, {"error": error}, headers)

    def _give(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class OpenAIServer:
    """Where a running server is, and how its tests speak to it."""

    url: str

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"{self.url}/v1"

    def behave(self, **manners: Any) -> None:
        """Behave so from now on, with a clean sheet: `manners` are fields of Manners, the others are at rest."""
        self._call("/behave", asdict(Manners(**manners)))

    def seen(self) -> dict[str, Any]:
        """Return what came since `behave`: the fields of Seen."""
        return self._call("/seen")

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        # Whatever proxies the environment names, this is on this machine.
        with build_opener(ProxyHandler({})).open(Request(self.url + path, data), timeout=30) as reply:
            return json.load(reply)


@contextmanager
def running_openai_server(model_directory: str) -> Iterator[OpenAIServer]:
    """Start a server with this model, give it when it listens, stop it; its first answer waits for the model."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "tests.openai_server", model_directory]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), f"the server did not start: {process.wait()}"
            yield OpenAIServer(url)
        finally:
            process.kill()


def _serve(model_directory: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Loaded meanwhile: it takes seconds, and most of what a test looks at needs no answer.
    with ThreadPoolExecutor(1) as executor, _Server(executor.submit(TinyModel, model_directory)) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


def _end_with_parent() -> None:
    """Leave when standard input ends, as it does when the process that holds its other end is gone."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
