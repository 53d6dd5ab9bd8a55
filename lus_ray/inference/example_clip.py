"""An example clip: a phantom with B-lines, the same on every machine."""

import functools
import io

from PIL import Image

from lus_ray.data.ingest import phantom

SEED = 5  # severity 2: B-lines
NUM_FRAMES, SIDE = 30, 224
FRAME_MS = 40


@functools.cache
def make_example() -> bytes:
    """The clip as an animated grey PNG, which the service reads without loss."""
    clips = phantom.clips(
        patients=1, clips=1, frames=NUM_FRAMES, size=SIDE, seed=SEED, probe="convex"
    )
    row = next(iter(clips))
    first, *others = map(Image.fromarray, row["frames"])
    file = io.BytesIO()
    first.save(file, "png", save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    return file.getvalue()
