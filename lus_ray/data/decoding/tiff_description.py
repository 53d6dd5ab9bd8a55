"""Read how many images the description of a TIFF declares, by the program that wrote it."""

import math
import re

from lus_ray.errors import DecodeError


def count_images(text: str, height: int, width: int, samples: int) -> int:
    """Number of images of this size by ImageJ, tifffile or OME; 0 where the text is silent.

    Raises:
        DecodeError: they are channels of one image.
    """
    num_images, num_channels = 0, 1
    if text.startswith("ImageJ="):
        fields = dict(re.findall(r"^(images|channels)=(\d{1,9})\s*$", text, re.MULTILINE))
        num_images, num_channels = int(fields.get("images", 0)), int(fields.get("channels", 1))
    elif found := re.match(r'\{"shape": \[([\d, ]{1,99})\]', text):
        num_values = math.prod(int(side) for side in found[1].split(",") if side.strip())
        num_images = num_values // (height * width * samples)
    elif "<OME" in text:
        for element in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text):
            sides = dict(re.findall(r'\bSize([CTZ])="(\d{1,9})"', element))
            channels = max(1, int(sides.get("C", 1)) // samples)
            num_images += channels * int(sides.get("T", 1)) * int(sides.get("Z", 1))
            num_channels = max(num_channels, channels)
    if num_channels > 1:
        reason = f"holds {num_channels} channels; save one of them, or all merged to RGB"
        raise DecodeError(reason, "refused")
    return num_images
