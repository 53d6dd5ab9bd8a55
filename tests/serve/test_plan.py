"""Which models run within an ingress, and what they answer there."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_reports import with_reports
from lus_ray.inference.model_selection import neighbouring_runs
from lus_ray.inference.response import LocalPipeline, Stopwatch, inspect_clip, wrap_frames
from lus_ray.inference.schema import to_dict
from lus_ray.inference.served_model import ServedModel
from serve import plan
from serve.app import find_models, source_fingerprint
from serve.directory import PlanDirectory
from serve.handler import ClipHandler
from serve.metrics import IngressMetrics
from serve.plan import PlannedApplication, choose_colocated, write_plan
from serve.rollout import copy_checkpoint
from serve.routing import Router


def sized(folder: Path, size: int) -> tuple[ServedModel, ...]:
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(size))
    return (ServedModel("r/a", "r", "a", 0, "frames", "", folder, "f"),)


def test_the_smallest_models_are_colocated_as_long_as_they_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "COLOCATED_BYTES", 6)
    sizes = {"backbone": 5, "experts": 1, "scorer": 3, "segmenter": 2}
    models = {slot: sized(tmp_path / slot, size) for slot, size in sizes.items()}
    assert choose_colocated(models, "auto") == {"experts", "segmenter", "scorer"}
    assert choose_colocated(models, "auto", apart={"scorer"}) == {"experts", "segmenter"}
    assert choose_colocated(models, "colocated") == set(models)
    assert choose_colocated(models, "composed") == set()


def test_an_ingress_reads_a_plan_again_only_where_it_changed(tmp_path):
    (model,) = sized(tmp_path / "model", 1)
    near = PlannedApplication("scorer.1", None, (model,))
    far = PlannedApplication("backbone.1", None, None)

    async def list_names() -> list[list[str]]:
        directory, listed = PlanDirectory(tmp_path), []
        for planned in ((near,), (near, far), (far,)):
            write_plan(tmp_path, planned)
            listed += [await directory.list_names(), await directory.list_names()]
        return listed

    names = ["scorer.1"], ["scorer.1", "backbone.1"], ["backbone.1"]
    assert asyncio.run(list_names()) == [each for each in names for _ in range(2)]


@pytest.mark.slow
def test_colocated_stages_answer_like_one_process_and_share_passes(runs, models, tmp_path):
    """Three clips at once through the plan, the router and the handler of an ingress."""
    served = find_models(neighbouring_runs(runs / "labels"))
    applications = []
    for slot, group in served.items():
        for model in group:
            copy_checkpoint(model, tmp_path)
        reads = source_fingerprint(slot, served)
        applications.append(PlannedApplication(slot, reads, with_reports(group)))
    write_plan(tmp_path, applications)
    rows = list(store.read(runs / "clips"))[:3]
    clips, passes = [wrap_frames(frames_of(row)) for row in rows], []

    async def known(candidate, route):
        return {model.id: 0.0 for model in candidate.models}

    async def predict() -> list[dict]:
        router = Router(known, PlanDirectory(tmp_path))
        await router.refresh()
        assert {application.layout for application in router.route.values()} == {"colocated"}
        assert router.is_ready
        backbone = router.route["backbone"].stage.deployment.stage
        one_pass = backbone.predict_batch

        def slow_pass(clips):  # long enough for the other clips to arrive
            passes.append(len(clips))
            time.sleep(0.2)
            return one_pass(clips)

        backbone.predict_batch = slow_pass
        handler = ClipHandler(ServiceLimits(), None, router, IngressMetrics("here"))
        replies = (
            handler.predict(clip, inspect_clip(clip, preview=False), router.route, Stopwatch({}))
            for clip in clips
        )
        return [to_dict(reply) for reply in await asyncio.gather(*replies)]

    local = LocalPipeline(models)
    for reply, clip in zip(asyncio.run(predict()), clips, strict=True):
        expected = to_dict(local.predict(clip))
        for part in ("clip", "lung_ultrasound", "masks", "banner"):
            assert reply[part] == expected[part]
        for part in ("biomarkers", "frames"):
            assert np.allclose(reply[part]["probability"], expected[part]["probability"], atol=1e-5)
        for group, other in zip(reply["experts"], expected["experts"], strict=True):
            ours, theirs = ([e["probability"] for e in g["answers"]] for g in (group, other))
            assert np.allclose(ours, theirs, atol=1e-5)
    assert sum(passes) == len(clips)
    assert max(passes) > 1
