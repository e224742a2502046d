"""Renders a chat template for a short message, in a process of its own that may not take much time or memory.

    python template_probe.py < {"template": ..., "special_tokens": {...}}

Templates come with the model and are programs: transformers runs them in a sandbox, where they reach nothing, but may
loop for ever or fill the memory. Run as a file: the process needs no package of ours.
"""

import json
import sys

_MAX_CPU_SECONDS = 5
_MAX_MORE_BYTES = 1 << 30


def main() -> None:
    """Render standard input's template; the exit code tells, and standard error says why."""
    from transformers.utils.chat_template_utils import render_jinja_template

    asked = json.load(sys.stdin)
    _limit()
    conversation = [{"role": "user", "content": "a short message"}]
    render_jinja_template(
        [conversation], chat_template=asked["template"], add_generation_prompt=True, enable_thinking=False,
        **asked["special_tokens"],
    )  # fmt: skip


def _limit() -> None:
    """From here on: a bounded time of the processor, and a bounded amount of new memory."""
    import resource
    from pathlib import Path

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + _MAX_CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    memory = Path("/proc/self/statm")
    if memory.exists():  # Linux; elsewhere the limit of memory means nothing
        size = int(memory.read_text().split()[0]) * resource.getpagesize() + _MAX_MORE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    main()
