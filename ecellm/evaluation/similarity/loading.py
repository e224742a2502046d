"""Loads pretrained encoders: quietly, in fp32, and only whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ecellm.errors import InputError


@contextmanager
def loadable(field: str, name: str) -> Iterator[None]:
    """Let whatever goes wrong while a model is loaded become one message that names the config's field.

    Args:
        field: of the config.
        name: the model, as the config has it.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  broken files fail in every way
        first = (str(error).strip() or "no message").split("\n", 1)[0]
        raise InputError(f"{field} {name} cannot be loaded: {type(error).__name__}: {first}") from None


def load_whole(model_class: Any, path: str, *, unused: str | None = None, **arguments: Any) -> Any:
    """Return a pretrained model in fp32, ready to compute.

    Args:
        model_class: transformers' class.
        path: local directory, or hub name.
        unused: part of the names of weights that may be missing, since the caller has no use for them.
        arguments: more of `from_pretrained`.

    Raises:
        InputError: there are no safetensors, or weights are missing or of another shape: transformers would draw them
            at random.
    """
    import torch
    import transformers

    from ecellm.model_loading import only_safetensors

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with only_safetensors(path) as safetensors:
        model, found = model_class.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True, **safetensors, **arguments
        )
    missing = [name for name in found["missing_keys"] if unused is None or unused not in name]
    missing += [str(name) for name in found["mismatched_keys"]]
    if missing:
        raise InputError(f"the weights in {path} do not fit its config.json: {len(missing)} missing, e.g. {missing[0]}")
    return model.eval()
