"""Where stores and runs lie: a folder of this machine, or one on object storage named by a URI.

A URI is `s3://bucket/folder`, `gs://bucket/folder` or any other that Arrow opens. Credentials come
from the environment, as for every tool of that storage, and never stand in a URI, which is printed
and kept in records. `AWS_ENDPOINT_URL` names a server of the S3 protocol that is not Amazon's; one
that does not answer is given up after three attempts in about six seconds.
"""

import functools
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from pyarrow import ArrowException
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from lus_ray.errors import InputError, StoreError

PathOrUri = Path | str
"""A folder or a file: a path, or the text of a URI. A URI is never a `Path`, which eats a slash."""

STORAGE_ERRORS = {
    "NO_SUCH_BUCKET|Bucket '.*' not found": "there is no such bucket",
    "ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED|HTTP "
    "response code: 40[13]|HTTP status 40[13]": "not allowed; check AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and what they may do",
    "NETWORK_CONNECTION|REQUEST_TIMEOUT|curlCode|[Tt]imeout": "the storage does not answer; check "
    "AWS_ENDPOINT_URL and the network",
}
"""What Arrow's texts of several lines say of a storage, by what is found in them."""


def is_remote(place: PathOrUri) -> bool:
    """Whether a place is named by a URI."""
    return isinstance(place, str) and "://" in place


def parse(text: str) -> PathOrUri:
    """What a user wrote, as a path or as a URI without its last slash.

    Raises:
        InputError: Arrow knows no such storage, or the URI holds a password.
    """
    if not is_remote(text):
        return Path(text)
    open_filesystem(text)
    scheme, host, path, query, _ = urlsplit(text)
    return urlunsplit((scheme, host, path.rstrip("/"), query, ""))


def join(place: PathOrUri, *names: str) -> PathOrUri:
    """The place of a file or folder below another."""
    if not is_remote(place):
        return Path(place).joinpath(*names)
    scheme, host, path, query, _ = urlsplit(str(place))
    return urlunsplit((scheme, host, "/".join((path.rstrip("/"), *names)), query, ""))


def basename(place: PathOrUri) -> str:
    """The last part of a place, as `Path.name`."""
    return urlsplit(str(place)).path.rpartition("/")[2] if is_remote(place) else Path(place).name


def open_filesystem(place: PathOrUri) -> tuple[FileSystem, str]:
    """The filesystem of a place, and the place's path in it.

    Raises:
        InputError: Arrow knows no such storage, the URI is not readable, or it holds a password.
    """
    if is_remote(place):
        _refuse_passwords(str(place))
    try:
        if not is_remote(place):
            return FileSystem.from_uri(Path(place).resolve().as_uri())
        scheme, bucket, path, query, _ = urlsplit(str(place))
        if scheme not in ("s3", "gs") or not bucket:
            return FileSystem.from_uri(str(place))
        settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
        filesystem, root = _bucket(urlunsplit((scheme, bucket, "", query, "")), settings)
        return filesystem, root + unquote(path).rstrip("/")
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{place}: no storage that can be opened ({describe_error(error)})"
        ) from error


@functools.lru_cache(maxsize=16)
def _bucket(uri: str, settings: tuple[tuple[str, str], ...]) -> tuple[FileSystem, str]:
    """A bucket's filesystem. Kept, as each one asks for credentials and connects anew."""
    return FileSystem.from_uri(uri)


def list_files(place: PathOrUri, ending: str = "") -> list[PathOrUri]:
    """The files directly in a folder whose names end so, by name; none where there is no folder.

    Raises:
        StoreError: the folder or the storage does not allow it, or does not answer.
    """
    if not is_remote(place):
        try:
            named = [path for path in Path(place).iterdir() if path.name.endswith(ending)]
            return sorted(path for path in named if path.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            said = error.strerror or describe_error(error)
            raise StoreError(f"{place}: not readable: {said}; check who may read it") from error
    filesystem, path = open_filesystem(place)
    try:
        infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    except (ArrowException, OSError) as error:
        raise StoreError(f"{place}: not readable: {describe_error(error)}") from error
    there = [info.base_name for info in infos if info.type is FileType.File]
    return [join(place, name) for name in sorted(there) if name.endswith(ending)]


def file_size(place: PathOrUri) -> int:
    """The size of a file; 0 where there is none."""
    filesystem, path = open_filesystem(place)
    info: FileInfo = filesystem.get_file_info(path)
    return info.size or 0


def describe_error(error: BaseException) -> str:
    """What an error says, in one line."""
    return explain_storage_error(error) or " ".join(str(error).split())[:200]


def explain_storage_error(error: BaseException) -> str | None:
    """What is wrong with a storage and what to do; None where an error is not of that kind."""
    text = " ".join(str(error).split())
    return next(
        (told for pattern, told in STORAGE_ERRORS.items() if re.search(pattern, text)), None
    )


def _refuse_passwords(uri: str) -> None:
    scheme, netloc, *_ = urlsplit(uri)
    if "@" in netloc:
        raise InputError(
            f"{scheme}://...@{netloc.rpartition('@')[2]}: a URI may hold no keys, as it is printed "
            "and kept; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
