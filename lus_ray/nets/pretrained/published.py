"""Published weights: addresses, checksums, download and cache.

Only files with a whole published SHA-256 are downloaded. torchvision's file names hold its first
eight digits, which detect damage, not malice, and PyTorchVideo publishes none: such files are taken
from a path that the user gives. The reader of the files runs no code.
"""

import hashlib
import http.client
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lus_ray.errors import FetchError, InputError
from lus_ray.storage.paths import cache_root
from lus_ray.suggestions import suggest

MAX_BYTES = 1 << 30
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PublishedFile:
    """Address of a file and the known first hexadecimal digits of its SHA-256, up to all 64."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def can_be_downloaded(self) -> bool:
        return len(self.sha256) == 64


PUBLISHED = {
    "resnet18-imagenet": PublishedFile(
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    ),
    "resnet34-imagenet": PublishedFile(
        "https://download.pytorch.org/models/resnet34-b627a593.pth", "b627a593"
    ),
    "resnet50-imagenet": PublishedFile(
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    "mobilenet_v2-imagenet": PublishedFile(
        "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "b0353104"
    ),
    "i3d-r50-kinetics": PublishedFile(
        "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth", ""
    ),
}
"""ImageNet weights of torchvision (IMAGENET1K_V1) for TSM, ResNets and the encoders of segmenters;
Kinetics-400 for I3D."""


def find(text: str) -> Path:
    """The weights that `--weights` names: a path, a published name, or NAME=FILE.

    Raises:
        InputError: there is no such path or name, NAME cannot be downloaded, or FILE is another.
        FetchError: as `download`.
    """
    name, equals, file = text.partition("=")
    if Path(text).exists():
        return Path(text).resolve()
    published = get(name)
    if equals:
        return check_file(name, Path(file))
    if not published.can_be_downloaded:
        raise InputError(
            f"{name}: its publisher gives no whole checksum, so it is not downloaded; fetch "
            f"{published.url} by hand and give --weights {name}=FILE"
        )
    return download(published, cache_root())


def get(name: str) -> PublishedFile:
    """The published file of a name; InputError if there is none."""
    if name not in PUBLISHED:
        raise InputError(f"{name}: neither a file nor published weights{suggest(name, PUBLISHED)}")
    return PUBLISHED[name]


def check_file(name: str, file: Path) -> Path:
    """The file, if it is the published one by the known digits of its checksum, else InputError."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; give {name}=FILE")
    if not _hash(file).startswith(digits := get(name).sha256):
        raise InputError(
            f"{file}: not {name}: its SHA-256 is {_hash(file)[:12]}..., not {digits[:12]}...; "
            "fetch it again"
        )
    return file.resolve()


def download(published: PublishedFile, folder: Path) -> Path:
    """The file in `folder`, downloaded if it is absent, with its checksum verified.

    Raises:
        FetchError: the address cannot be reached, the folder is not writable, or the checksum is
            wrong.
    """
    target = folder / published.file_name
    try:
        if target.exists():
            _check(_hash(target), published, f"{target} is damaged; remove it")
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as aside:
            partial = Path(aside) / target.name
            digest = _copy(published.url, partial)
            _check(digest, published, f"{published.url} sent another file; try again")
            partial.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(
            f"cannot fetch {published.url} ({getattr(error, 'reason', error)}); "
            f"where no network exists, put the file at {target} by hand"
        ) from None
    return target


def _copy(url: str, target: Path) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, target.open("wb") as file:
        digest = hashlib.sha256()
        while chunk := response.read(CHUNK_BYTES):
            digest.update(chunk)
            if file.write(chunk) and file.tell() > MAX_BYTES:
                raise FetchError(f"{url} sends more than {MAX_BYTES >> 20} MB; it is refused")
        if response.length:
            raise FetchError(f"{url} broke off {response.length} bytes before its end; try again")
    return digest.hexdigest()


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check(digest: str, published: PublishedFile, trouble: str) -> None:
    if digest != published.sha256:
        raise FetchError(
            f"{trouble} (SHA-256 {digest[:12]}..., expected {published.sha256[:12]}...)"
        )
