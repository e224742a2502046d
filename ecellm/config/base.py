"""What all job configs are made of: kinds of fields, access to storage and cluster, the fields of every job."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ecellm.settings import SETTINGS


class Effect(StrEnum):
    """What a config field does to a job's output."""

    CONTENT = "content"
    OPERATIONAL = "operational"
    LOCATION = "location"


def content(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a field that changes what the job writes."""
    return Field(default, description=description, json_schema_extra={"effect": Effect.CONTENT}, **constraints)


def operational(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a field that changes only how or where the job runs."""
    return Field(default, description=description, json_schema_extra={"effect": Effect.OPERATIONAL}, **constraints)


def location(default: Any = ..., *, description: str, **constraints: Any) -> Any:
    """Declare a path: of an input (its fingerprint counts, not its name) or of the output."""
    return Field(default, description=description, json_schema_extra={"effect": Effect.LOCATION}, **constraints)


class Frozen(BaseModel):
    """Base of every config model: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class StorageConfig(Frozen):
    """How to reach the object store. Credentials come from the environment of the nodes, never from here."""

    endpoint_url: str | None = operational(
        None,
        pattern=r"^https?://[^/\s@]+(/[^\s@]*)?$",  # no login: credentials are not for recipes
        description="S3 endpoint, e.g. http://127.0.0.1:8333; null = AWS",
    )
    region: str | None = operational(None, description="S3 region; null = from the environment")
    profile: str | None = operational(None, description="name of an AWS profile on the nodes; null = default chain")
    anonymous: bool = operational(False, description="read public buckets without credentials")
    max_retries: int = operational(5, ge=0, description="tries of one request after the first")


class RayConfig(Frozen):
    """Which cluster runs the job."""

    address: str | None = operational(
        None, description="cluster to join; null = RAY_ADDRESS (set by `ray job submit`), else a local Ray"
    )
    num_cpus: int | None = operational(
        None, ge=4, description="logical CPUs of a local Ray; null = the machine's, at least 4"
    )


class ClusterConfig(Frozen):
    """Fields of everything that runs on Ray."""

    storage: StorageConfig = operational(StorageConfig(), description="object store access")
    ray: RayConfig = operational(RayConfig(), description="cluster access")


class JobConfig(ClusterConfig):
    """Fields of every job that writes an output directory."""

    output_dir: str = location(description="directory or URL that the job writes")
    overwrite: bool = operational(
        False, description="remove what lies in output_dir if it was made by another configuration"
    )
    seed: int = content(1, ge=0, description="seed of everything drawn at random")


def check_settings(settings: tuple[str, ...] | None) -> None:
    """Raise ValueError if a setting is not one of the eight."""
    for name in settings or ():
        if name not in SETTINGS:
            raise ValueError(f"unknown setting {name!r}; known settings: {', '.join(SETTINGS)}")


def content_of(config: BaseModel) -> dict[str, Any]:
    """Return the fields of `config` that change what the job writes, nested as they are, ready for JSON."""
    result: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra
        effect = extra.get("effect") if isinstance(extra, dict) else None
        assert effect is not None, f"{type(config).__name__}.{name} must say what it does to the output"
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            nested = content_of(value)
            if nested:
                result[name] = nested
        elif effect == Effect.CONTENT:
            result[name] = config.model_dump(mode="json", include={name})[name]
    return result
