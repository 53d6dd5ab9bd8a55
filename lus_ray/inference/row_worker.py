"""Rows of predictions in a worker process of a cluster; clips and rows travel as JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.errors import InputError
from lus_ray.inference.batch import predict_read
from lus_ray.inference.clip_inputs import ClipInput
from lus_ray.inference.clip_reader import ClipReader
from lus_ray.inference.model_selection import hash_checkpoint
from lus_ray.inference.prediction_table import FlatRow, flatten
from lus_ray.inference.response import LocalPipeline
from lus_ray.inference.served_model import ServedModel
from lus_ray.storage.paths import is_remote
from lus_ray.study_files import StudyFile


class RowWorker:
    """Predicts batches of packed clips with models in folders that this machine can read.

    The study files that the models need were imported as `studies` arrived.

    Raises:
        InputError: it cannot read a model, or reads another one.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        root: Path,
        options: Mapping[str, bool],
        studies: Sequence[StudyFile] = (),
    ) -> None:
        for model in models:
            if not model.folder.is_dir() or hash_checkpoint(model.folder) != model.fingerprint:
                raise InputError(
                    f"{model.folder}: not the same on a machine of the cluster; put the run into "
                    "a folder that all machines share"
                )
        self.pipeline = LocalPipeline(models)
        self.uncertainty = options["uncertainty"]
        reader = ClipReader(allow_text=options["allow_text"], workers=1, root=root)
        self.reader = reader.__enter__()  # its processes end with this one

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        clips = [_unpack(text) for text in batch["packed"]]
        results = predict_read(self.reader.read(clips), self.pipeline, uncertainty=self.uncertainty)
        return {"packed": [json.dumps(flatten(result)) for result in results]}


def pack_clips(clips: Iterable[ClipInput]) -> list[str]:
    return [json.dumps(asdict(clip), default=str) for clip in clips]


def unpack_rows(packed: Iterable[str]) -> Iterator[FlatRow]:
    return (json.loads(text) for text in packed)


def _unpack(text: str) -> ClipInput:
    values: dict[str, Any] = json.loads(text)
    if values["location"] is not None:
        values["location"] = tuple(values["location"])
        store = values["store"]
        values["store"] = store if is_remote(store) else Path(store)
    return ClipInput(**values)
