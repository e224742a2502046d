"""The command line that all jobs share: recipe, dotted overrides, `--dry-run`, exit codes, the last line.

    python -m jobs.finetune RECIPE.yaml optimizer.learning_rate=1e-4 --dry-run

Exit codes: 0 done; 2 bad config or input; 3 another run holds the output; 1 anything else. The last line is always
`ecellm: exit=N reason=...`, because `ray job submit` tells only success from failure.
"""

import argparse
import io
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel

from ecellm.config import ClusterConfig
from ecellm.errors import InputError, OutputHeldError, SurroundingsError, find_cause
from ecellm.presets import preset_of
from ecellm.ray_session import connected
from ecellm.recipe import load_config
from ecellm.redaction import RedactingFormatter, redacted, redacted_text, redacted_traceback
from ecellm.stage import Plan, Stage, carry_out, check_plan, plan
from ecellm.visible_text import short_text

logger = logging.getLogger(__name__)
# Of a message that quotes bad input; missing files are listed in less.
_MAX_REASON_CHARACTERS = 8_000
EXIT_DONE, EXIT_OTHER, EXIT_BAD_INPUT, EXIT_HELD = 0, 1, 2, 3
Config = TypeVar("Config", bound=ClusterConfig)


def main(stage: Stage[Any], arguments: Sequence[str] | None = None) -> int:
    """Run one stage as a job; return the exit code."""

    def work(config: Any, dry_run: bool) -> None:
        planned = plan(stage, config)
        if dry_run:
            print_plan(planned)
            check_plan(planned, comes_next=False)
            return
        if preset := preset_of(config):
            logger.info("%s: preset: %s", stage.job, preset.name)
        carry_out(planned)

    return run_job(stage.job, stage.config_class, work, arguments)


def run_job(
    job: str,
    config_class: type[Config],
    work: Callable[[Config, bool], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line, connect to Ray, call `work(config, dry_run)`, print the last line.

    Args:
        job: name of the job.
        config_class: its config model.
        work: what to do; what it raises decides the exit code.
        arguments: command line; default the process's.
    """

    def body() -> str:
        config, dry_run = _read_arguments(job, config_class, arguments)
        with connected(config.ray):
            work(config, dry_run)
        return "dry run, nothing was written" if dry_run else "done"

    return run_guarded(body)


def run_guarded(body: Callable[[], str | tuple[int, str]]) -> int:
    """Run `body`, print the last line, return the exit code.

    Args:
        body: the work; returns the reason of the last line, after another exit code than 0 where it knows one. What
            it raises decides the exit code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it cannot write, say half a character of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("botocore", "aiobotocore", "s3fs", "fsspec", "ray.data", "ray.train", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        result = body()
    except KeyboardInterrupt:
        return _last_line(EXIT_OTHER, "interrupted; the same command goes on where it stopped")
    except BaseException as error:  # noqa: BLE001  every end of a job gets its last line
        return _explain(error)
    code, reason = (EXIT_DONE, result) if isinstance(result, str) else result
    return _last_line(code, reason)


def _read_arguments(job: str, config_class: type[Config], arguments: Sequence[str] | None) -> tuple[Config, bool]:
    """Return the config and whether this is a dry run."""
    parsed = _parser(job, config_class).parse_args(arguments)
    words: list[str] = parsed.recipe_and_overrides
    recipes = [word for word in words if "=" not in word]
    if len(recipes) > 1:
        raise InputError(f"one recipe at a time, not {', '.join(recipes)}; overrides look like key=value")
    overrides = [word for word in words if "=" in word]
    return load_config(config_class, recipes[0] if recipes else None, overrides), parsed.dry_run


class Parser(argparse.ArgumentParser):
    """Reports a wrong option as bad input, so that it too ends in the last line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        raise InputError(f"{message}. --help shows the options and fields")


def _explain(error: BaseException) -> int:
    """Print what went wrong; return the exit code."""
    held = find_cause(error, OutputHeldError)
    if held:
        return _last_line(EXIT_HELD, str(held))
    bad_input = find_cause(error, InputError)
    if bad_input:
        return _last_line(EXIT_BAD_INPUT, str(bad_input))
    surroundings = find_cause(error, SurroundingsError)
    if surroundings:
        return _last_line(EXIT_OTHER, str(surroundings))
    if isinstance(error, SystemExit):
        if not error.code:  # --help
            raise error
        return _last_line(EXIT_OTHER, "stopped by a signal; the same command goes on where it stopped")
    sys.stderr.write(redacted_traceback(error))
    return _last_line(EXIT_OTHER, f"{type(error).__name__}: {' '.join(str(error).split()[-30:])}")


def _last_line(code: int, reason: str) -> int:
    sys.stderr.flush()
    shown = short_text(redacted_text(reason), _MAX_REASON_CHARACTERS, keep_end=_MAX_REASON_CHARACTERS // 4)
    sys.stdout.write(f"ecellm: exit={code} reason={shown}\n")
    sys.stdout.flush()
    return code


def print_plan(planned: Plan[Any]) -> None:
    """Print config, preset, inputs, output, fingerprint and what a run would do."""
    config = redacted(planned.config.model_dump(mode="json"))
    sys.stdout.write(yaml.safe_dump({planned.stage.job: config}, sort_keys=False, allow_unicode=True))
    if preset := preset_of(planned.config):
        sys.stdout.write(f"preset: {preset.name}\n")
    for name, path in planned.stage.inputs(planned.config).items():
        sys.stdout.write(f"input {name}: {redacted_text(path)} (fingerprint {planned.identity['inputs'][name][:19]})\n")
    sys.stdout.write(f"output: {redacted_text(planned.output_dir)}: {planned.state}\n")
    sys.stdout.write(f"fingerprint: {planned.fingerprint}\n")


def _parser(job: str, config_class: type[BaseModel]) -> Parser:
    parser = Parser(
        prog=f"python -m jobs.{job}",
        description=(config_class.__doc__ or "").split(": ", 1)[-1],
        epilog="fields:\n" + "\n".join(_field_lines(config_class)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recipe_and_overrides", nargs="*", metavar="RECIPE.yaml | key=value", help="one recipe, then dotted overrides"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be done, check all that can fail, write nothing"
    )
    return parser


def _field_lines(config_class: type[BaseModel], prefix: str = "  ") -> list[str]:
    lines = []
    for name, field in config_class.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            lines += _field_lines(annotation, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)}"
        values = [str(value) for value in get_args(annotation)] if get_origin(annotation) is Literal else []
        one_of = f"; one of {', '.join(values)}" if values else ""
        lines.append(f"{prefix}{name}: {field.description} ({default}{one_of})")
    return lines
