"""Whether a model's chat template can be used: it is tried once, in a process of its own (see template_probe.py)."""

import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

from ecellm.errors import InputError
from ecellm.models import explained
from ecellm.prompts import template_probe
from ecellm.visible_text import short_text

# The probe ends by itself after seconds of the processor's time; a machine that is busy gives it those late.
_MAX_WALL_SECONDS = 600
_MAX_SHOWN = 300


def check_chat_template(name: str, tokenizer: Any) -> None:
    """Try the chat template of a model on a short message.

    Args:
        name: what messages call the model.
        tokenizer: the model's tokenizer, which has a template.

    Raises:
        InputError: the template fails, loops, or fills the memory.
    """
    with explained(name, f"model {name}: no usable chat template"):
        asked = {"template": tokenizer.get_chat_template(), "special_tokens": tokenizer.special_tokens_map}
        problem = _problem_of(json.dumps(asked))
    if problem:
        raise InputError(f"model {name}: its chat template {problem}. Use another prompt_format, or mend the template")


@lru_cache(maxsize=4)
def _problem_of(asked: str) -> str | None:
    """Return what is wrong with a template, None if it gives a prompt."""
    command = [sys.executable, template_probe.__file__]
    try:
        done = subprocess.run(  # noqa: S603  this Python, and a file of ours
            command, input=asked, capture_output=True, text=True, check=False, timeout=_MAX_WALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "did not come to its end"
    if done.returncode < 0:
        return "takes too much time or memory for a message of three words"
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().rsplit("\n", 1)[-1]) or "no reason given"
    return f"fails: {short_text(last, _MAX_SHOWN)}"
