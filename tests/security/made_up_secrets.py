"""Secrets that are made up, and places where they might be found again."""

import io
from contextlib import suppress

import pyarrow.parquet as pq

PASSWORD = "made-up-login-password"  # pragma: allowlist secret
LOGIN = f"me:{PASSWORD}"
WRONG_KEY = "made-up-key-that-no-store-knows"  # pragma: allowlist secret
# In the environment of a run, beside the object store's.
SECRETS = {
    "OPENAI_API_KEY": "sk-made-up-openai-key",  # pragma: allowlist secret
    "HF_TOKEN": "hf_made_up_hub_token",
    "MLFLOW_TRACKING_PASSWORD": "made-up-mlflow-password",  # pragma: allowlist secret
}


def found_in(secrets, data):
    """Return the names of the secrets that some bytes hold; Parquet is looked at unpacked too.

    Args:
        secrets: values by name.
        data: the content of a file.
    """
    texts = [data]
    if data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        texts += [str(table.to_pylist()).encode(), str(table.schema.metadata).encode()]
    return {name for name, value in secrets.items() if any(value.encode() in text for text in texts)}


def files_with_secrets(secrets, directory):
    """Return the files below a local directory that hold secrets: their names, with the secrets'."""
    found = {}
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # of a Ray that is at work, some come and go
            if path.is_file() and (names := found_in(secrets, path.read_bytes())):
                found[str(path.relative_to(directory))] = names
    return found
