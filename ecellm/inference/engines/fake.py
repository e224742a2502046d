"""An engine without a model, for tests: the answer is a function of the request alone."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from ecellm.inference.request import Answer, Failure, Request


class FakeEngine:
    """Answers a closed question with one of its choices, drawn by the row's key; an open one with an echo."""

    def answer(self, requests: Sequence[Request], adapter: str | None) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer requests, in their order."""
        return ((place, self._answer(request, adapter or "")) for place, request in enumerate(requests))

    def _answer(self, request: Request, adapter: str) -> Answer:
        draw = int.from_bytes(blake2b(f"{adapter}{request.key}".encode(), digest_size=8).digest(), "big")
        if request.choices and request.ranks_choices:
            start = draw % len(request.choices)
            return Answer(",".join(request.choices[start:] + request.choices[:start]), "stop", 2)
        if request.choices:
            return Answer(request.choices[draw % len(request.choices)], "stop", 1)
        return Answer(f"answer {draw % 1000}", "stop", 2)
