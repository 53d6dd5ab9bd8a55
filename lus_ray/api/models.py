"""Trained models in Python: the models of a run as a function of clips."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from lus_ray import study_files
from lus_ray.api.runs import Run, open_run
from lus_ray.api.stores import Store
from lus_ray.clip import hash_pixels
from lus_ray.errors import SchemaError
from lus_ray.inference import batch, model_selection
from lus_ray.inference.clip_inputs import ClipInput, ClipResult, find_inputs
from lus_ray.inference.prediction_table import flatten, make_table
from lus_ray.inference.response import LocalPipeline, wrap_frames
from lus_ray.storage.paths import parse

Clip = Path | str | Store | UInt8[np.ndarray, "T H W"]
"""A file, a folder, a pattern, a store, or grey frames 0-255."""


class Model:
    """The models that runs offer, each the best of its folds by validation.

    Raises:
        ServeError: no finished model can be applied.
        CheckpointError: a checkpoint is damaged, or needs a study file that was not given.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._pipeline = LocalPipeline(model_selection.select_models(tuple(folders)))

    def __repr__(self) -> str:
        runs = dict.fromkeys(model.run for model in self._pipeline.models)
        return f"Model({len(self._pipeline.models)} models of {', '.join(runs)})"

    @property
    def models(self) -> pd.DataFrame:
        """A row for each model: what it predicts, its fold, and how good it was in validation."""
        rows = [
            {
                "model": model.id, "label": model.label, "kind": model.kind, "fold": model.fold,
                "card": model.card and model.card.summary,
            }
            for model in self._pipeline.models
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def predict(self, clips: Clip | Iterable[Clip], **options: Any) -> pd.DataFrame:
        """A row for each clip, a column for each number, as `lus predict --out` writes them.

        A clip that cannot be read has the reason in `error`. `options` are those of `responses`.
        """
        return make_table(list(map(flatten, self.responses(clips, **options)))).to_pandas()

    def responses(
        self, clips: Clip | Iterable[Clip], *, uncertainty: bool = False, allow_text: bool = False,
        workers: int | None = None,
    ) -> Iterator[ClipResult]:  # fmt: skip
        """One typed result per clip, in order and in flat memory.

        `uncertainty` samples that of masks, `allow_text` accepts DICOM with text beside the fan,
        `workers` files are decoded at a time.

        Raises:
            InputError: a path does not exist, or holds no clip.
            SchemaError: an array is not uint8 grey (T, H, W).
        """
        listed: Iterable[Any]
        listed = [clips] if isinstance(clips, Path | str | Store | np.ndarray) else clips
        number = 0
        for are_arrays, group in groupby(listed, key=lambda clip: isinstance(clip, np.ndarray)):
            if are_arrays:
                for frames in group:
                    yield self._predict_array(frames, f"array {number}", uncertainty)
                    number += 1
            else:
                sources = [c.location if isinstance(c, Store) else parse(str(c)) for c in group]
                yield from batch.predict_clips(
                    find_inputs(sources).clips, self._pipeline, uncertainty=uncertainty,
                    allow_text=allow_text, workers=workers,
                )  # fmt: skip

    def _predict_array(self, frames: np.ndarray, name: str, uncertainty: bool) -> ClipResult:
        if frames.dtype != np.uint8 or frames.ndim != 3 or not frames.size:
            raise SchemaError(
                f"{name}: is {frames.dtype} with shape {frames.shape}; give uint8 grey frames "
                "(time, height, width)"
            )
        response = self._pipeline.predict(wrap_frames(frames), uncertainty=uncertainty)
        return ClipResult(ClipInput(name, hash_pixels(frames)), response)


def load(*runs: Run | Path | str, study: Path | str | None = None) -> Model:
    """The models of finished runs; `study` is the file of a study of one's own.

    Raises:
        StoreError: a folder holds no run.
        ServeError: no finished model can be applied.
        CheckpointError: a checkpoint is damaged, or needs a study file that was not given.
    """
    if study is not None:
        study_files.load(study)
    return Model(open_run(run).path for run in runs)
