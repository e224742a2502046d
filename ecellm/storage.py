"""Local paths, s3:// and any other fsspec URL behind one small interface, with atomic publishing.

A `Storage` holds only its config, so it travels to Ray workers; each process opens its own connections. What it
writes appears whole or not at all: local files by temporary file, fsync and rename, objects by one upload of a
finished file. Errors that the user can fix (wrong credentials, endpoint, missing path) become `InputError`.
"""

import errno
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ecellm.config import StorageConfig
from ecellm.errors import InputError, MissingFileError, SurroundingsError
from ecellm.json_text import read_json
from ecellm.local_files import require_ordinary_file
from ecellm.parquet import CheckedParquetFile, parquet_writer

# Arrow's default pool keeps what it once had: a worker of ingest stays at 200 MB with it and at 140 MB with malloc.
pa.set_memory_pool(pa.system_memory_pool())

_S3 = ("s3://", "s3a://")
_CONNECT_TIMEOUT_SECONDS = 10
_READ_TIMEOUT_SECONDS = 60
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Files that are read whole are small; JSON takes up to thirty times its size in memory.
_MAX_WHOLE_BYTES = 256 << 20
_MAX_JSON_BYTES = 64 << 20
_NO_SUCH_PATH = (errno.ELOOP, errno.ENAMETOOLONG)


def is_local(path: str) -> bool:
    """Tell whether `path` names a file on this machine rather than a URL."""
    return "://" not in path or path.startswith(("file://", "local://"))


def is_stored(path: str) -> bool:
    """Tell whether an input is a path or a URL of a store, and not the name of a model at a hub or in a package."""
    return path.startswith("/") or ("://" in path and not path.startswith("package://"))


def absolute(path: str) -> str:
    """Make a local path absolute (Ray workers run in other directories); URLs lose only a closing slash."""
    if is_local(path):
        try:
            return str(Path(path.split("://", 1)[-1]).expanduser().resolve())
        except (RuntimeError, ValueError, OSError) as error:  # links in a circle, no such home, a NUL byte
            raise InputError(f"{path!r} is no usable path: {_first_line(error)}") from None
    return path.rstrip("/")


def join(directory: str, *names: str) -> str:
    """Join path parts with slashes."""
    return "/".join([directory.rstrip("/"), *names])


@lru_cache(maxsize=16)
def _filesystem(protocol: str, config: StorageConfig) -> fsspec.AbstractFileSystem:
    if f"{protocol}://" not in _S3:
        return fsspec.filesystem(protocol)
    import s3fs

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
    # s3fs's own loop around each call multiplies botocore's: with 5 retries a store may be gone for a minute.
    fs.retries = config.max_retries + 1
    s3fs.core.set_custom_error_handler(is_passing_problem)
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
            raise MissingFileError(f"{path} does not exist") from None
        except (NotADirectoryError, IsADirectoryError) as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except PermissionError as error:
            hint = "" if is_local(path) else ". Check the credentials on the nodes"
            raise InputError(f"no access to {path}: {_first_line(error)}{hint}") from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_SUCH_PATH:
                raise InputError(f"{path}: {error.strerror}") from None
            if is_local(path):
                raise
            if not (is_passing_problem(error) or _is_login_problem(error)):
                raise
            endpoint = self.config.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or "the default endpoint"
            reason = f"cannot reach {path} at {endpoint}: {type(error).__name__}: {_first_line(error)}"
            if is_passing_problem(error):
                raise SurroundingsError(
                    f"{reason}. The object store did not answer, or not rightly, for longer than storage.max_retries="
                    f"{self.config.max_retries} allows; the same command goes on once it does"
                ) from None
            raise InputError(f"{reason}. Check storage.endpoint_url and the credentials on the nodes") from None

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
        files = (path for path in self._found(directory) if not _is_hidden(path.rsplit("/", 1)[-1], keep=hidden))
        return sorted(path for path in files if path.endswith(suffix))

    def sizes(self, directory: str) -> dict[str, int]:
        """Return the size in bytes of all files below `directory`, hidden ones left out; empty if there is none."""
        return {path: size for path, size in self._found(directory).items() if not _is_hidden(path.rsplit("/", 1)[-1])}

    def _found(self, directory: str) -> dict[str, int]:
        """Return the size of every file below a directory, by path or URL."""
        fs, name = self.filesystem(directory)
        with self._explained(directory):
            # Some stores keep a directory whose last object was removed, and list it as if it were one.
            found = fs.find(name, detail=True) if fs.exists(name) else {}
        prefix = "" if is_local(directory) else directory.split("://", 1)[0] + "://"
        return {f"{prefix}{path}": int(info["size"]) for path, info in found.items() if info["type"] != "directory"}

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        fs, name = self.filesystem(path)
        with self._explained(path):
            return int(fs.size(name))

    def _readable(self, path: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """Do what `filesystem` does for a file that is to be read."""
        fs, name = self.filesystem(path)
        if isinstance(fs, LocalFileSystem):
            require_ordinary_file(name, path)
        return fs, name

    def open_read(self, path: str) -> IO[bytes]:
        """Open a file for streaming reads of bytes."""
        fs, name = self._readable(path)
        with self._explained(path):
            return fs.open(name, "rb")

    def read_bytes(self, path: str, max_bytes: int = _MAX_WHOLE_BYTES) -> bytes:
        """Return a whole small file.

        Raises:
            MissingFileError: there is none.
            InputError: it is no small one.
        """
        fs, name = self._readable(path)
        with self._explained(path):
            if (size := int(fs.size(name) or 0)) > max_bytes:
                raise InputError(f"{path} has {size:,} bytes, and may have {max_bytes:,}. Is it the right file?")
            return bytes(fs.cat_file(name))

    def read_json(self, path: str) -> Any:
        """Return the content of a small JSON file.

        Raises:
            MissingFileError: there is none.
            InputError: it is not JSON.
        """
        try:
            return read_json(self.read_bytes(path, _MAX_JSON_BYTES))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {_first_line(error)}") from None

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
        with (
            _told_if_full(Path(tempfile.gettempdir()), f"a scratch file for {path}"),
            tempfile.TemporaryDirectory(prefix="ecellm-") as scratch,
        ):
            temporary = Path(scratch) / Path(name).name
            yield temporary
            with self._explained(path):
                fs.put_file(str(temporary), name)

    def write_table(self, path: str, table: pa.Table, row_group_size: int | None = None) -> None:
        """Publish a table as one Parquet file (zstd)."""
        with self.table_writer(path, table.schema) as writer:
            writer.write_table(table, row_group_size=row_group_size)

    @contextmanager
    def table_writer(self, path: str, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
        """Give a writer of row groups; the file is published if the block succeeds.

        Args:
            path: where.
            schema: of the rows.
            options: of `pyarrow.parquet.ParquetWriter`.
        """
        with self.staged_file(path) as temporary, parquet_writer(temporary, schema, **options) as writer:
            yield writer

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return one Parquet file as a table.

        Raises:
            InputError: the file is missing, or is not Parquet, or damaged.
        """
        with self.parquet_file(path) as file:
            return file.read(columns=columns)

    @contextmanager
    def parquet_file(self, path: str) -> Iterator[CheckedParquetFile]:
        """Open a Parquet file for reading by row group."""
        with ExitStack() as stack:
            # Local files are read by Arrow itself, others through fsspec.
            source: Any = self._readable(path)[1] if is_local(path) else stack.enter_context(self.open_read(path))
            with self._explained(path):
                file = CheckedParquetFile(source, path, partial(self._explained, path))
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
        with _as_input_error(), self._explained(path):
            try:
                # Under the path itself: a policy may allow no more of the bucket.
                fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
            except FileNotFoundError:
                raise InputError(f"bucket {bucket!r} of {path} does not exist or is not yours") from None


def _is_hidden(name: str, *, keep: bool = False) -> bool:
    """Tell whether a listing passes over a file: temporaries of ours always, other hidden ones unless kept."""
    return name.startswith(".") and (not keep or name.endswith(".tmp"))


@contextmanager
def _as_input_error() -> Iterator[None]:
    """Before any work a store that does not answer is most likely named wrongly."""
    try:
        yield
    except SurroundingsError as error:
        raise InputError(f"{error}. Check storage.endpoint_url too") from None


@contextmanager
def _told_if_full(directory: Path, what: str) -> Iterator[None]:
    """Turn the error of a full disk into a message that names it.

    Args:
        directory: on that disk.
        what: what is written there.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        mount = next(path for path in (directory, *directory.parents) if path.is_mount())
        size = shutil.disk_usage(mount).total / 2**30
        raise SurroundingsError(
            f"no room for {what}: the disk of {directory} on {socket.gethostname()} ({mount}, {size:.3g} GiB) is full, "
            f"or its quota or a size limit is reached ({os.strerror(error.errno)}). Make room there; the same command "
            "goes on"
        ) from None


def _link_new(path: Path, data: bytes) -> bool:
    """Write a local file that must not be there yet, whole or not at all; return whether it was written."""
    with _told_if_full(path.parent, str(path)):
        return _write_and_link(path, data)


def _write_and_link(path: Path, data: bytes) -> bool:
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
    with _told_if_full(path.parent, str(path)), _renamed(path) as temporary:
        yield temporary


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
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


# By the names of their types: botocore is loaded only where S3 is used.
_LOGIN_PROBLEMS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ClientError",
    "InvalidAccessKeyId",
}
_PASSING_PROBLEMS = {
    "EndpointConnectionError",
    "HTTPClientError",  # of botocore: connections cut, closed, too slow
    "ClientConnectorError",
    "ClientPayloadError",
    "IncompleteRead",
    "ResponseParserError",
    "FSTimeoutError",
    "TimeoutError",
}
# What s3fs makes of a store's "slow down", "internal error" and "unavailable".
_PASSING_NUMBERS = {errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT}


def _is_login_problem(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & _LOGIN_PROBLEMS) or (
        isinstance(error, OSError)
        and any(word in str(error) for word in ("InvalidAccessKeyId", "Signature", "endpoint"))
    )


def is_passing_problem(error: BaseException) -> bool:
    """Tell whether an object store's error may be gone a little later: no answer, half an answer, or one like 503."""
    names = {cls.__name__ for cls in type(error).__mro__}
    response: Any = getattr(error, "response", None)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(response, dict) else 0
    return bool(names & _PASSING_PROBLEMS) or status >= 500 or getattr(error, "errno", None) in _PASSING_NUMBERS
