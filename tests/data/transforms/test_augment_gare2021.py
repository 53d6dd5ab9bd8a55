import pytest
import torch

from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES, make_copies
from lus_ray.errors import ArmError

FRAMES = torch.tensor([[0.5, 1.0]]).reshape(1, 1, 1, 2)
MASKS = torch.tensor([[3, 6]], dtype=torch.uint8).reshape(1, 1, 1, 2)


def test_there_are_six_and_each_is_another():
    assert SIX_COPIES[0] == (False, 1.0)
    assert set(SIX_COPIES) == {(f, i) for f in (False, True) for i in (1.0, 0.8, 1.1)}


def test_copies_by_hand_all_by_one_number_or_each_by_its_own():
    greys = [[0.5, 1.0], [0.4, 0.8], [0.55, 1.0], [1.0, 0.5], [0.8, 0.4], [1.0, 0.55]]
    ids = [[3, 6]] * 3 + [[6, 3]] * 3
    frames, masks = FRAMES.repeat(6, 1, 1, 1), MASKS.repeat(6, 1, 1, 1)
    copied, moved = make_copies(frames, masks, torch.arange(6))
    torch.testing.assert_close(copied.reshape(6, 2), torch.tensor(greys))
    assert moved.reshape(6, 2).tolist() == ids
    assert moved.dtype == torch.uint8
    assert torch.equal(frames, FRAMES.repeat(6, 1, 1, 1))  # no input is written to
    for number in range(6):
        alone = make_copies(FRAMES, MASKS, number)
        assert torch.equal(alone[0][0], copied[number])
        assert torch.equal(alone[1][0], moved[number])


@pytest.mark.parametrize("number", [-1, 6])
def test_a_number_that_no_copy_has_is_refused(number: int):
    with pytest.raises(ArmError, match=f"no copy {number}; they are numbered 0 to 5"):
        make_copies(FRAMES, MASKS, number)
