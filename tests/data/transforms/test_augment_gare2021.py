import pytest
import torch

from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES, make_copies
from lus_ray.errors import ArmError

FRAMES = torch.tensor([[0.5, 1.0]]).reshape(1, 1, 1, 2)
MASKS = torch.tensor([[3, 6]], dtype=torch.uint8).reshape(1, 1, 1, 2)


def test_there_are_six_and_each_is_another():
    assert SIX_COPIES[0] == (False, 1.0)
    assert set(SIX_COPIES) == {(f, i) for f in (False, True) for i in (1.0, 0.8, 1.1)}


@pytest.mark.parametrize(
    ("number", "greys", "ids"),
    [
        (0, [0.5, 1.0], [3, 6]),
        (1, [0.4, 0.8], [3, 6]),
        (2, [0.55, 1.0], [3, 6]),
        (3, [1.0, 0.5], [6, 3]),
        (4, [0.8, 0.4], [6, 3]),
        (5, [1.0, 0.55], [6, 3]),
    ],
)
def test_a_copy_by_hand(number: int, greys: list[float], ids: list[int]):
    frames, masks = make_copies(FRAMES, MASKS, number)
    torch.testing.assert_close(frames.flatten(), torch.tensor(greys))
    assert masks.flatten().tolist() == ids
    assert masks.dtype == torch.uint8


def test_each_clip_can_have_a_number_of_its_own_and_none_is_written_to():
    frames, masks = FRAMES.repeat(3, 1, 1, 1), MASKS.repeat(3, 1, 1, 1)
    copied, ids = make_copies(frames, masks, torch.tensor([0, 4, 2]))
    expected = torch.tensor([[0.5, 1.0], [0.8, 0.4], [0.55, 1.0]])
    torch.testing.assert_close(copied.reshape(3, 2), expected)
    assert ids.reshape(3, 2).tolist() == [[3, 6], [6, 3], [3, 6]]
    assert torch.equal(frames, FRAMES.repeat(3, 1, 1, 1))


@pytest.mark.parametrize("number", [-1, 6])
def test_a_number_that_no_copy_has_is_refused(number: int):
    with pytest.raises(ArmError, match=f"no copy {number}; they are numbered 0 to 5"):
        make_copies(FRAMES, MASKS, number)
