"""Paths of stores and runs: a local path, or the URI of a folder on object storage.

A URI is `s3://bucket/folder`, `gs://bucket/folder` or any other that Arrow opens. Credentials come
from the environment, never from a URI, which is printed and recorded. `AWS_ENDPOINT_URL` names an
S3-compatible server; one that does not answer fails after three attempts in about six seconds.
"""

import functools
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType

from lus_ray.errors import InputError, StoreError

PathOrUri = Path | str
"""A folder or a file. A URI is never a `Path`, which would drop a slash."""

STORAGE_ERRORS = {
    "NO_SUCH_BUCKET|Bucket '.*' not found": "there is no such bucket",
    "ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED|HTTP "
    "response code: 40[13]|HTTP status 40[13]": "not allowed; check AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and what they may do",
    "NETWORK_CONNECTION|REQUEST_TIMEOUT|curlCode|[Tt]imeout": "the storage does not answer; check "
    "AWS_ENDPOINT_URL and the network",
}
"""Messages by the pattern they replace in the errors of Arrow, which have several lines."""


def is_remote(path: PathOrUri) -> bool:
    return isinstance(path, str) and "://" in path


def parse(text: str) -> PathOrUri:
    """A path or URI from the text of a user; InputError for one that Arrow cannot open."""
    if not is_remote(text):
        return Path(text)
    open_filesystem(text)
    scheme, host, path, query, _ = urlsplit(text)
    return urlunsplit((scheme, host, path.rstrip("/"), query, ""))


def join(location: PathOrUri, *names: str) -> PathOrUri:
    if not is_remote(location):
        return Path(location).joinpath(*names)
    scheme, host, path, query, _ = urlsplit(str(location))
    return urlunsplit((scheme, host, "/".join((path.rstrip("/"), *names)), query, ""))


def basename(location: PathOrUri) -> str:
    return PurePosixPath(urlsplit(str(location)).path if is_remote(location) else location).name


def open_filesystem(location: PathOrUri) -> tuple[FileSystem, str]:
    """The filesystem of a path or URI, and the path in it.

    Raises InputError where the URI is malformed, of an unknown storage or contains a password.
    """
    scheme, bucket, path, query, _ = urlsplit(str(location) if is_remote(location) else "")
    if "@" in bucket:
        raise InputError(
            f"{scheme}://...@{bucket.rpartition('@')[2]}: a URI may hold no keys, as it is printed "
            "and recorded; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    if scheme in ("s3", "gs") and not bucket:
        raise InputError(f"{location}: names no bucket; write {scheme}://bucket/folder")
    try:
        if not is_remote(location):
            return FileSystem.from_uri(Path(location).resolve().as_uri())
        if scheme not in ("s3", "gs"):
            return FileSystem.from_uri(str(location))
        settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
        filesystem, root = _bucket(urlunsplit((scheme, bucket, "", query, "")), settings)
        return filesystem, root + unquote(path).rstrip("/")
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{location}: no storage that can be opened ({describe_error(error)})"
        ) from error


@functools.lru_cache(maxsize=16)  # each filesystem requests credentials and connects anew
def _bucket(uri: str, settings: tuple[tuple[str, str], ...]) -> tuple[FileSystem, str]:
    return FileSystem.from_uri(uri)


def list_files(location: PathOrUri, suffix: str = "") -> list[PathOrUri]:
    """Files directly in a folder, sorted; none without it, StoreError if it is not readable."""
    if not is_remote(location):
        try:
            named = [path for path in Path(location).iterdir() if path.name.endswith(suffix)]
            return sorted(path for path in named if path.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            detail = error.strerror or describe_error(error)
            raise StoreError(f"{location}: not readable: {detail}; check permissions") from error
    filesystem, path = open_filesystem(location)
    try:
        infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    except (ArrowException, OSError) as error:
        raise StoreError(f"{location}: not readable: {describe_error(error)}") from error
    names = sorted(info.base_name for info in infos if info.type is FileType.File)
    return [join(location, name) for name in names if name.endswith(suffix)]


def file_size(location: PathOrUri) -> int:
    """The size of a file in bytes; 0 without a file."""
    filesystem, path = open_filesystem(location)
    return filesystem.get_file_info(path).size or 0


def cache_root() -> Path:
    """`$LUS_CACHE`, or `.cache/lus_ray` in the home folder; created if it is absent.

    Raises:
        InputError: it can be neither found nor created.
    """
    named = os.environ.get("LUS_CACHE")
    try:
        folder = Path(named) if named else Path.home() / ".cache" / "lus_ray"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # no home folder at all is a RuntimeError
        where = f"LUS_CACHE={named}" if named else f"HOME={os.environ.get('HOME', '')}"
        detail = getattr(error, "strerror", None) or error
        raise InputError(
            f"{where} cannot hold downloaded files ({detail}); set LUS_CACHE to a folder that you "
            "can write to"
        ) from None
    return folder


def describe_error(error: BaseException) -> str:
    return explain_storage_error(error) or " ".join(str(error).split())[:200]


def explain_storage_error(error: BaseException) -> str | None:
    """The problem of a storage and its remedy; None for errors of other kinds."""
    text = " ".join(str(error).split())
    messages = (message for pattern, message in STORAGE_ERRORS.items() if re.search(pattern, text))
    return next(messages, None)
