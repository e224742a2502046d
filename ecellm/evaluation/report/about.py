"""What the evaluation itself was: of which samples, with how many resamples, by which version."""

from collections.abc import Mapping
from dataclasses import dataclass

from ecellm.evaluation.report.runs import short_names
from ecellm.fingerprint import RUN_NAME, read_sections
from ecellm.manifest import read_manifest
from ecellm.provenance import package_version
from ecellm.storage import Storage, join
from ecellm.visible_text import short_text

_FINGERPRINT_DIGITS = 12
_MOST_SHOWN = 200  # characters of a fact


@dataclass(frozen=True)
class About:
    """What is known of the evaluation.

    Attributes:
        facts: name by name, as text.
        samples_dir: the whole path of the samples.
        num_resamples: how often rows were drawn anew; None if unknown.
    """

    facts: Mapping[str, str]
    samples_dir: str = ""
    num_resamples: int | None = None


def describe_evaluation(storage: Storage, samples_dir: str, output_dir: str) -> About:
    """Return what the samples' manifest and the evaluation's own record say; less where others made the samples."""
    samples = read_manifest(storage, samples_dir)
    record = join(output_dir, RUN_NAME)
    config = (read_sections(storage, record) if storage.exists(record) else {}).get("config", {})
    known = {
        "samples made by": samples.get("job"),
        "rows of the samples": f"{samples['rows']:,}" if isinstance(samples.get("rows"), int) else None,
        "their fingerprint": str(samples.get("fingerprint") or "")[:_FINGERPRINT_DIGITS],
        "resamples": f"{config['num_resamples']:,}" if isinstance(config.get("num_resamples"), int) else None,
        "seed": config.get("seed"),
        "ecellm": package_version("ecellm"),
    }
    told = {name: short_text(str(value), _MOST_SHOWN) for name, value in known.items() if value is not None}
    facts = {name: text for name, text in told.items() if text}
    return About({"samples": short_names([samples_dir])[0], **facts}, samples_dir, config.get("num_resamples"))
