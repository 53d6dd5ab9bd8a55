"""Refuse samples of more than 8 bits that would lose their contrast as 8-bit grey."""

from lus_ray.errors import DecodeError

MIN_GREYS = 32
"""Of 256: an 8-bit image with fewer is all but uniform."""


def check_range(bits: int, largest: int, smallest: int = 0) -> None:
    """Refuse a clip whose stored values use less than 1/8 of the range of `bits`.

    `largest` and `smallest` are of the whole clip, before any inversion. 12-bit data in a 16-bit
    file would be stored almost black. A uniform image has nothing to lose.

    Raises:
        DecodeError: the 8-bit image would span fewer than `MIN_GREYS` values.
    """
    if bits > 8 and 0 < largest - smallest < MIN_GREYS << (bits - 8):
        reason = (
            f"its values span {smallest} to {largest} of 0 to {2**bits - 1} and would lose their "
            "contrast; save it with 8 bits, or scale the values to the full range"
        )
        raise DecodeError(reason, "refused")
