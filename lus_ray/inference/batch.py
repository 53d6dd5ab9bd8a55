"""Predictions for many clips in flat memory: reading and predicting overlap.

    models = select_models(folders)
    for result in predict_clips(find_inputs(paths).clips, LocalPipeline(models)):
        ...

Files are decoded in limited child processes, a store is read a row group at a time; both run ahead
of the predictions by a few clips. A clip that cannot be read gives a result with its error.
"""

from collections.abc import Iterable, Iterator

from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.inference.clip_inputs import ClipInput, ClipResult
from lus_ray.inference.clip_reader import ClipReader, Read
from lus_ray.inference.response import LocalPipeline

BATCH_CLIPS = 32
BATCH_BYTES = 32 << 20
"""Clips are predicted together up to this number and this size of their frames."""


def predict_clips(
    inputs: Iterable[ClipInput],
    pipeline: LocalPipeline,
    *,
    uncertainty: bool = False,
    allow_text: bool = False,
    workers: int | None = None,
) -> Iterator[ClipResult]:
    """One result per input in order; `workers` files are decoded at a time, one a core by default.

    The numbers equal those of `LocalPipeline.predict` but for rounding, as small clips share
    passes.
    """
    with ClipReader(allow_text=allow_text, workers=workers) as reader:
        yield from predict_read(reader.read(inputs), pipeline, uncertainty=uncertainty)


def predict_read(
    clips: Iterable[Read], pipeline: LocalPipeline, *, uncertainty: bool = False
) -> Iterator[ClipResult]:
    """The same for the clips of a `ClipReader` that the caller keeps."""
    for batch in _batches(clips):
        decoded = [content for _, content in batch if isinstance(content, DecodedVideo)]
        responses = iter(pipeline.predict_batch(decoded, uncertainty=uncertainty))
        for source, content in batch:
            if isinstance(content, DecodedVideo):
                yield ClipResult(source, next(responses))
            else:
                yield ClipResult(source, error=" ".join(str(content).split()))


def _batches(clips: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    num_bytes = 0
    for clip in clips:
        batch.append(clip)
        if isinstance(clip[1], DecodedVideo):
            num_bytes += clip[1].frames.nbytes
        if len(batch) >= BATCH_CLIPS or num_bytes >= BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch
