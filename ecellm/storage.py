"""Local paths, s3:// and any other fsspec URL behind one small interface, with atomic publishing.

A `Storage` holds only its config, so it travels to Ray workers; each process opens its own connections. What it
writes appears whole or not at all: local files by temporary file, fsync and rename, objects by one upload of a
finished file. Errors that the user can fix (wrong credentials, endpoint, missing path) become `InputError`.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ecellm.config import StorageConfig
from ecellm.errors import InputError

# Arrow's default pool keeps what it once had: a worker of ingest stays at 200 MB with it and at 140 MB with malloc.
pa.set_memory_pool(pa.system_memory_pool())

PARQUET_COMPRESSION = "zstd"
_S3 = ("s3://", "s3a://")
_CONNECT_TIMEOUT_SECONDS = 10
_READ_TIMEOUT_SECONDS = 60


def is_local(path: str) -> bool:
    """Tell whether `path` names a file on this machine rather than a URL."""
    return "://" not in path or path.startswith(("file://", "local://"))


def absolute(path: str) -> str:
    """Make a local path absolute (Ray workers run in other directories); URLs lose only a closing slash."""
    if is_local(path):
        return str(Path(path.split("://", 1)[-1]).expanduser().resolve())
    return path.rstrip("/")


def join(directory: str, *names: str) -> str:
    """Join path parts with slashes."""
    return "/".join([directory.rstrip("/"), *names])


@lru_cache(maxsize=16)
def _filesystem(protocol: str, config: StorageConfig) -> fsspec.AbstractFileSystem:
    if f"{protocol}://" not in _S3:
        return fsspec.filesystem(protocol)
    client: dict[str, Any] = {"region_name": config.region} if config.region else {}
    retries = {"max_attempts": config.max_retries + 1, "mode": "standard"}
    fs = fsspec.filesystem(
        "s3",
        anon=config.anonymous,
        profile=config.profile,
        endpoint_url=config.endpoint_url,
        client_kwargs=client,
        config_kwargs={
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "read_timeout": _READ_TIMEOUT_SECONDS,
            "retries": retries,
        },
        use_listings_cache=False,
    )
    fs.retries = 2  # s3fs's own loop around each call, which multiplies botocore's
    return fs


@dataclass(frozen=True)
class Storage:
    """Reads and writes by path or URL.

    Attributes:
        config: endpoint, region, profile, retries; never credentials.
    """

    config: StorageConfig = field(default_factory=StorageConfig)

    def filesystem(self, path: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return the fsspec filesystem of `path` and the path as that filesystem names it."""
        if is_local(path):
            return _filesystem("file", self.config), absolute(path)
        protocol = path.split("://", 1)[0]
        try:
            fs = _filesystem(protocol, self.config)
        except (ValueError, ImportError) as error:
            raise InputError(f"{path}: {error}") from None
        return fs, fs._strip_protocol(path)  # noqa: SLF001  the only name fsspec has for it

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turn errors of access into one message without secrets."""
        try:
            yield
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"{path} does not exist") from None
        except (NotADirectoryError, IsADirectoryError) as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except PermissionError as error:
            hint = "" if is_local(path) else ". Check the credentials on the nodes"
            raise InputError(f"no access to {path}: {_first_line(error)}{hint}") from None
        except Exception as error:
            if is_local(path) or not _is_connection_problem(error):
                raise
            endpoint = self.config.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or "the default endpoint"
            raise InputError(
                f"cannot reach {path} at {endpoint}: {type(error).__name__}: {_first_line(error)}. "
                "Check storage.endpoint_url and the credentials on the nodes"
            ) from None

    def exists(self, path: str) -> bool:
        """Tell whether a file, or a directory with something in it, is at `path`."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            if fs.isfile(name):
                return True
            if not path.startswith(_S3):
                return any(files for _, _, files in fs.walk(name))
            # The first object is enough; a directory that the store keeps though it is empty has none.
            bucket, _, key = name.partition("/")
            listing = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/" if key else "", MaxKeys=2)
            return any(not item["Key"].endswith("/") for item in listing.get("Contents", ()))

    def is_dir(self, path: str) -> bool:
        """Tell whether `path` is a directory."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            return bool(fs.isdir(name))

    def list_files(self, directory: str, suffix: str = "", *, hidden: bool = False) -> list[str]:
        """Return the paths of all files below `directory` that end in `suffix`, sorted; empty if there is none.

        Hidden files are passed over unless asked for; what a killed writer left behind is never listed.
        """
        fs, name = self.filesystem(directory)
        with self._explained(directory):
            # Some stores keep a directory whose last object was removed, and list it as if it were one.
            found = fs.find(name, detail=True) if fs.exists(name) else {}
        prefix = "" if is_local(directory) else directory.split("://", 1)[0] + "://"
        files = (str(path) for path, info in found.items() if info["type"] != "directory")
        files = (path for path in files if not _is_hidden(path.rsplit("/", 1)[-1], keep=hidden))
        return sorted(prefix + path for path in files if path.endswith(suffix))

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            return int(fs.size(name))

    def open_read(self, path: str) -> IO[bytes]:
        """Open a file for streaming reads of bytes."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            return fs.open(name, "rb")

    def read_bytes(self, path: str) -> bytes:
        """Return a whole small file."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            return bytes(fs.cat_file(name))

    def read_json(self, path: str) -> Any:
        """Return the content of a small JSON file.

        Raises:
            InputError: the file is missing or is not JSON.
        """
        try:
            return json.loads(self.read_bytes(path))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not valid JSON: {error}") from None

    def write_bytes(self, path: str, data: bytes) -> None:
        """Publish a small file atomically."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            if not isinstance(fs, LocalFileSystem):
                fs.pipe_file(name, data)
                return
            with _published(Path(name)) as temporary:
                temporary.write_bytes(data)

    def write_json(self, path: str, value: Any) -> None:
        """Publish `value` as indented JSON."""
        self.write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def create_exclusively(self, path: str, data: bytes) -> bool:
        """Write a file only if there is none; return whether it was written.

        On S3 by a conditional put (`If-None-Match: *`), which AWS and SeaweedFS honour; a store that does not know
        the condition overwrites, so callers read back what they wrote.
        """
        fs, name = self.filesystem(path)
        with self._explained(path):
            if isinstance(fs, LocalFileSystem):
                return _link_new(Path(name), data)
            try:
                fs.pipe_file(name, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "PreconditionFailed" in str(error) or "pre-condition" in str(error).lower():
                    return False
                raise
        return True

    @contextmanager
    def staged_file(self, path: str) -> Iterator[Path]:
        """Give a local path to write to; it is published as `path` if the block succeeds, else removed."""
        fs, name = self.filesystem(path)
        if isinstance(fs, LocalFileSystem):
            with _published(Path(name)) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="ecellm-") as scratch:
            temporary = Path(scratch) / Path(name).name
            yield temporary
            with self._explained(path):
                fs.put_file(str(temporary), name)

    def write_table(self, path: str, table: pa.Table, row_group_size: int | None = None) -> None:
        """Publish a table as one Parquet file (zstd)."""
        with self.staged_file(path) as temporary:
            pq.write_table(table, temporary, compression=PARQUET_COMPRESSION, row_group_size=row_group_size)

    @contextmanager
    def table_writer(self, path: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Give a writer of row groups; the file is published if the block succeeds."""
        with (
            self.staged_file(path) as temporary,
            pq.ParquetWriter(temporary, schema, compression=PARQUET_COMPRESSION) as writer,
        ):
            yield writer

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return one Parquet file as a table.

        Raises:
            InputError: the file is missing, or is not Parquet.
        """
        with self.parquet_file(path) as file:
            return file.read(columns=columns)

    @contextmanager
    def parquet_file(self, path: str) -> Iterator[pq.ParquetFile]:
        """Open a Parquet file for reading by row group."""
        with ExitStack() as stack:
            # Local files are read by Arrow itself, others through fsspec.
            source: Any = absolute(path) if is_local(path) else stack.enter_context(self.open_read(path))
            with self._explained(path):
                try:
                    file = pq.ParquetFile(source)
                except pa.ArrowInvalid as error:
                    raise InputError(f"{path} is not a readable Parquet file: {_first_line(error)}") from None
            yield stack.enter_context(file)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it; nothing there is no error."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            if fs.exists(name):
                fs.rm(name, recursive=True)

    def download_dir(self, directory: str, target: Path) -> None:
        """Copy all files below `directory` to the local directory `target`.

        Raises:
            InputError: an object's key would lead out of `target`: unlike a file's name, it may be any text.
        """
        fs, root = self.filesystem(directory)
        for path in self.list_files(directory):
            name = self.filesystem(path)[1]
            local = target / name.removeprefix(root.rstrip("/") + "/")
            if not local.resolve().is_relative_to(target.resolve()):
                raise InputError(f"{path} would be copied to a place outside of {target}: remove that object")
            local.parent.mkdir(parents=True, exist_ok=True)
            with self._explained(path):
                fs.get_file(name, str(local))

    def upload_dir(self, source: Path, directory: str) -> None:
        """Publish all files below the local directory `source` as `directory`."""
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            with self.staged_file(join(directory, file.relative_to(source).as_posix())) as temporary:
                temporary.write_bytes(b"") if file.stat().st_size == 0 else _copy(file, temporary)

    def digest(self, path: str) -> str:
        """Return what identifies a file's content: sha256 of a local file, the ETag of an object."""
        fs, name = self.filesystem(path)
        if not isinstance(fs, LocalFileSystem):
            with self._explained(path):
                info = fs.info(name)
            tag = info.get("ETag") or info.get("etag")
            if tag:
                return f"etag:{str(tag).strip(chr(34))}"
        return f"sha256:{self.sha256(path)}"

    def sha256(self, path: str) -> str:
        """Return the SHA-256 of a file's content, 64 hex digits."""
        hasher = sha256()
        with self.open_read(path) as handle:
            while block := handle.read(1 << 20):
                hasher.update(block)
        return hasher.hexdigest()

    def check_access(self, path: str) -> None:
        """Raise `InputError` if the store of `path` cannot be reached or refuses us; the path may be absent."""
        if not path.startswith(_S3):
            return
        quick = self.config.model_copy(update={"max_retries": min(1, self.config.max_retries)})
        fs, name = Storage(quick).filesystem(path)
        bucket, _, key = name.partition("/")
        with self._explained(path):
            try:
                # Under the path itself: a policy may allow no more of the bucket.
                fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
            except FileNotFoundError:
                raise InputError(f"bucket {bucket!r} of {path} does not exist or is not yours") from None


def _is_hidden(name: str, *, keep: bool) -> bool:
    """Tell whether a listing passes over a file: temporaries of ours always, other hidden ones unless kept."""
    return name.startswith(".") and (not keep or name.endswith(".tmp"))


def _link_new(path: Path, data: bytes) -> bool:
    """Write a local file that must not be there yet, whole or not at all; return whether it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(1 << 20):
            writer.write(block)


@contextmanager
def _published(path: Path) -> Iterator[Path]:
    """Write to a hidden temporary beside `path`; fsync and rename it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner reads
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


_CONNECTION_PROBLEMS = (
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ClientError",
    "HTTPClientError",
    "InvalidAccessKeyId",
    "ClientConnectorError",
    "TimeoutError",
)


def _is_connection_problem(error: BaseException) -> bool:
    """Tell a problem of reaching the store by its type's name: botocore is loaded only where S3 is used."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names.intersection(_CONNECTION_PROBLEMS)) or (
        isinstance(error, OSError)
        and any(word in str(error) for word in ("InvalidAccessKeyId", "Signature", "endpoint"))
    )
