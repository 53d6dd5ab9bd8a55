import pytest

from lus_ray.data.decoding.sample_range import check_range
from lus_ray.errors import DecodeError


@pytest.mark.parametrize(
    ("bits", "largest", "smallest"),
    [(16, 255, 0), (16, 4095, 0), (16, 8191, 0), (12, 255, 0), (16, 33023, 32768)],
)
def test_values_of_a_small_part_of_their_range_are_refused_with_the_values(bits, largest, smallest):
    with pytest.raises(
        DecodeError, match=f"span {smallest} to {largest} of 0 to {2**bits - 1}"
    ) as caught:
        check_range(bits, largest, smallest)
    assert caught.value.kind == "refused"


@pytest.mark.parametrize(
    ("bits", "largest", "smallest"),
    [(8, 3, 0), (16, 8192, 0), (12, 512, 0), (16, 0, 0), (16, 65535, 65535)],
)
def test_eight_bits_wide_ranges_and_uniform_images_pass(bits, largest, smallest):
    check_range(bits, largest, smallest)
