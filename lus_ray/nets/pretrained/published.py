"""Published weights: addresses, checksums, download and cache.

Where only the eight digits of the SHA-256 in torchvision's file name are known, they detect
damage, not malice; PyTorchVideo publishes no checksum. The reader of the files runs no code.
"""

import hashlib
import http.client
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lus_ray.errors import FetchError, InputError
from lus_ray.storage.paths import cache_root

MAX_BYTES = 1 << 30
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PublishedFile:
    """Address of a file and the known first hexadecimal digits of its SHA-256."""

    url: str
    sha256: str | None

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]


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
        "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth", None
    ),
}
"""ImageNet weights of torchvision (IMAGENET1K_V1) for TSM, ResNets and the encoders of segmenters;
Kinetics-400 for I3D."""


def fetch(name: str) -> Path:
    """The official file of a name in `PUBLISHED` (else InputError); otherwise as `download`."""
    if name not in PUBLISHED:
        raise InputError(f"no official weights {name!r}; there are {', '.join(PUBLISHED)}")
    return download(PUBLISHED[name], cache_root())


def download(published: PublishedFile, folder: Path) -> Path:
    """The file in `folder`, downloaded if it is absent, with its checksum verified.

    Raises:
        FetchError: the address cannot be reached, the folder is not writable, or the checksum is
            wrong.
    """
    target = folder / published.file_name
    try:
        if target.exists():
            with target.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            _check(digest, published, f"{target} is damaged; remove it")
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


def _check(digest: str, published: PublishedFile, trouble: str) -> None:
    if published.sha256 is not None and not digest.startswith(published.sha256):
        raise FetchError(
            f"{trouble} (SHA-256 {digest[:12]}..., expected {published.sha256[:12]}...)"
        )
