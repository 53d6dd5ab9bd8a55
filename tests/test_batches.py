"""Orders and batches: every clip in its turn, classes balanced, shares equal, seeds obeyed."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.batches import Draw, InMemory, order, stack
from lus_ray.clip import make
from lus_ray.views import View


def rows(grades):
    frames = np.zeros((1, 2, 2), np.uint8)
    who = {"patient": "t/p", "source": "t"}
    return [make(frames, clip=f"t/{n}", severity=g, **who) for n, g in enumerate(grades)]


grades = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(grades, st.integers(1, 8), st.integers(0, 9))
def test_every_row_comes_once_an_epoch(labels, batch, epoch):
    batches = order(rows(labels), batch=batch, seed=0, epoch=epoch)
    assert sorted(d.row for part in batches for d in part) == list(range(len(labels)))
    assert all(len(part) == batch for part in batches[:-1])


@given(grades)
def test_with_balance_every_class_comes_as_often_as_the_largest(labels):
    batches = order(rows(labels), batch=4, seed=1, epoch=0, balance="severity")
    drawn = Counter(labels[d.row] for part in batches for d in part)
    assert set(drawn.values()) == {max(Counter(labels).values())}
    assert {d.row for part in batches for d in part} == set(range(len(labels)))


@given(grades, st.integers(1, 4))
def test_workers_share_every_batch_equally_and_without_overlap(labels, workers):
    settings = {"batch": 4, "seed": 0, "epoch": 2}
    shares = [order(rows(labels), rank=r, workers=workers, **settings) for r in range(workers)]
    assert len({len(share) for share in shares}) == 1
    for parts in zip(*shares, strict=True):
        assert len({len(part) for part in parts}) == 1
        together = [draw for part in parts for draw in part]
        assert len({d.row for d in together}) == len(together)


def test_an_epoch_is_another_order_and_a_seed_gives_the_same():
    labels = rows([0] * 20)
    one, two = (order(labels, batch=4, seed=0, epoch=e) for e in (0, 1))
    assert one != two
    assert one == order(labels, batch=4, seed=0, epoch=0)
    assert one != order(labels, batch=4, seed=1, epoch=0)


def test_a_batch_holds_frames_and_the_labels_as_numbers():
    table = rows([2, 0])
    table[0]["sf_ratio"], table[1]["sf_ratio"] = 100.0, 450.0
    frames = {r["clip"]: np.full((5, 2, 2), n, np.uint8) for n, r in enumerate(table)}
    view = View(num_frames=3, height=2, width=2)
    batch = stack(
        [Draw(1, 0), Draw(0, 0)], table, frames.__getitem__, view=view,
        columns=("severity", "sf_ratio"),
    )  # fmt: skip
    assert batch["frames"].shape == (2, 3, 2, 2)
    assert batch["frames"].dtype == torch.uint8
    assert batch["frames"][:, 0, 0, 0].tolist() == [1, 0]
    assert batch["severity"].tolist() == [0, 2]
    assert batch["sf_ratio"].tolist() == [0, 3]


def test_frames_at_a_size_that_nobody_resized_to_are_missed_loudly():
    with pytest.raises(KeyError):
        InMemory({}).epochs(rows([0]), view=View(), columns=(), batch=1, seed=0)
