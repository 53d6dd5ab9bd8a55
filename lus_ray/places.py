"""Where stores and runs lie: a folder of this machine, or one on object storage named by a URI.

A URI is `s3://bucket/folder`, `gs://bucket/folder` or any other that Arrow opens; credentials come
from the environment, as for every tool of that storage.
"""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pyarrow import ArrowException
from pyarrow.fs import FileSystem

from lus_ray.errors import InputError

Place = Path | str
"""A folder: a path, or the text of a URI. A URI is never a `Path`, which would eat a slash."""


def is_remote(place: Place) -> bool:
    """Whether a place is named by a URI."""
    return isinstance(place, str) and "://" in place


def place(text: str) -> Place:
    """What a user wrote, as a path or as a URI without its last slash.

    Raises:
        InputError: Arrow knows no such storage.
    """
    if not is_remote(text):
        return Path(text)
    opened(text)
    scheme, host, path, query, _ = urlsplit(text)
    return urlunsplit((scheme, host, path.rstrip("/"), query, ""))


def below(place: Place, *names: str) -> Place:
    """The place of a file or folder below another."""
    if not is_remote(place):
        return Path(place).joinpath(*names)
    scheme, host, path, query, _ = urlsplit(str(place))
    return urlunsplit((scheme, host, "/".join((path.rstrip("/"), *names)), query, ""))


def opened(place: Place) -> tuple[FileSystem, str]:
    """The filesystem of a place, and the place's path in it.

    Raises:
        InputError: Arrow knows no such storage, or the URI is not readable.
    """
    try:
        if is_remote(place):
            return FileSystem.from_uri(str(place))
        return FileSystem.from_uri(Path(place).resolve().as_uri())
    except (ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{place}: no storage that can be opened ({reason})") from error
