"""An engine without a model, for tests: the answer is a function of the request alone."""

from collections.abc import Sequence
from hashlib import blake2b

from ecellm.inference.request import Answer, Request


class FakeEngine:
    """Answers a closed question with one of its choices, drawn by the row's key; an open one with an echo."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        draw = int.from_bytes(blake2b(request.key.encode(), digest_size=8).digest(), "big")
        if request.choices:
            return Answer(request.choices[draw % len(request.choices)], "stop", 1)
        return Answer(f"answer {draw % 1000}", "stop", 2)
