"""Biomarkers of sources that only know whether a group of findings is present."""

from collections.abc import Mapping

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS


def to_biomarkers(presence: Mapping[str, bool | None]) -> list[int]:
    """The 38 biomarkers as far as the presence of groups decides them; the others are -1.

    An absent group decides all its levels, a present one only excludes "none". None decides
    nothing. B-lines decide their origin only where they are absent.
    """
    values: dict[str, int] = {}
    for group, is_present in presence.items():
        if is_present is False:
            values |= {f"{group}: {level}": 0 for level in BIOMARKER_GROUPS[group]}
        if is_present is not None:
            values[f"{group}: none"] = int(not is_present)
    has_b_lines = presence.get("B-lines")
    if has_b_lines is False:
        values |= {"B-line origin: pleura": 0, "B-line origin: sub-pleura": 0}
    if has_b_lines is not None:
        values["B-line origin: not applicable"] = int(not has_b_lines)
    return [values.get(name, -1) for name in BIOMARKERS]
