"""Small valid source folders for every reader of files, drawn from a generator of numbers."""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lus_ray.clip import BIOMARKERS, DISEASES, MASK_SCHEMES
from lus_ray.data.ingest import covid_blues, pocovid
from tests.fuzz.pictures import STILLS, SYNTAXES, VIDEOS, Picture, paint, to_png, write

CELLS: dict[str, tuple[str, ...]] = {
    "probe": ("", "convex", "linear", "phased"),
    "zone": ("", "L1", "rücken, links"),
    "comment": ("", 'the "upper" zone', "two\nlines"),
    "domain": ("", "Ulm"),
    "mm_per_pixel": ("", "0.25", "1e-1"),
    "fps": ("", "25", "12.5"),
    "severity": ("", "0", "1", "2", "3", "3.0"),
    "raters": ("", "1;2;1", "0"),
    "sf_ratio": ("", "430.5", "99"),
    "disease": ("", *DISEASES),
    BIOMARKERS[0]: ("", "0", "1"),
    BIOMARKERS[7]: ("", "yes", "no"),
}
"""Cells of labels.csv beside file, patient, frame_severity and masks."""


@dataclass
class Source:
    """A source folder: the picture of each file (by path below `root`), tables, and true masks.

    `damaged` are the files whose bytes a mutation changed; `used` are tables and annotations.
    """

    reader: str
    root: Path
    pictures: dict[str, Picture] = field(default_factory=dict)
    masks: dict[int, UInt8[np.ndarray, "T H W"]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    elements: dict[str, dict[str, object]] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def add(self, name: str, form: str, rng: np.random.Generator, patient: str = "") -> Picture:
        picture = paint(len(self.pictures) + 11, form, rng)
        self.pictures[name] = picture
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(picture, path, patient)
        return picture

    def move(self, name: str, new: str) -> None:
        """Rename a file, with all that is known of it."""
        self.inherit(name, new)
        (self.root / name).rename(self.root / new)
        del self.pictures[name]
        self.damaged.discard(name)
        self.elements.pop(name, None)

    def inherit(self, name: str, new: str) -> None:
        """Let a new file be a copy of another one."""
        self.pictures[new] = self.pictures[name]
        self.elements[new] = dict(self.elements.get(name, {}))
        if name in self.damaged:
            self.damaged.add(new)

    def put(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.used.add(name)

    def put_table(self, name: str, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        self.put(name, text.getvalue().encode())
        self.tables.append(name)


def make_source(reader: str, root: Path, rng: np.random.Generator) -> Source:
    root.mkdir(parents=True)
    source = Source(reader, root)
    makers = {"folder": _folder, "dicom": _dicom, "covid_blues": _covid_blues, "pocovid": _pocovid}
    makers[reader](source, rng)
    return source


READERS = ("folder", "dicom", "covid_blues", "pocovid")


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _folder(source: Source, rng: np.random.Generator) -> None:
    forms = (*VIDEOS, "gif", *STILLS, *SYNTAXES)
    scheme = _pick(rng, tuple(MASK_SCHEMES))
    columns = [name for name in CELLS if rng.random() < 0.7]
    has_masks, annotations, rows = rng.random() < 0.6, _Annotations(scheme), []
    for number in range(int(rng.integers(3, 7))):
        form = _pick(rng, forms)
        name = f"{_pick(rng, ('', 'sub/', 'süd/'))}clip {number}.{form}"
        picture = source.add(name, form, rng, f"id{number // 2}")
        row = {"file": name, "patient": f"P-{number // 2:03}"}
        row |= {column: _pick(rng, CELLS[column]) for column in columns}
        grades = [str(grade) for grade in rng.integers(0, 4, len(picture.frames))]
        row["frame_severity"] = ";".join(grades) if rng.random() < 0.5 else ""
        if has_masks:
            row |= {"mask_scheme": "", "mask": "", "polygons": "", "coco": ""}
            kind = _pick(rng, ("", "mask", "polygons", "coco"))
            if kind and (kind != "coco" or len(picture.frames) == 1):
                row["mask_scheme"] = scheme
                row[kind] = _draw_masks(source, picture, kind, annotations, rng)
        rows.append(row)
    if annotations.content["images"]:
        source.put("annotations.json", json.dumps(annotations.content).encode())
    source.put_table("labels.csv", rows)


class _Annotations:
    """A COCO file that grows by one image after another."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        categories = [
            {"id": number, "name": name} for number, name in enumerate(MASK_SCHEMES[scheme])
        ]
        self.content: dict[str, list] = {
            "images": [], "annotations": [], "categories": categories[1:],
        }  # fmt: skip


def _draw_masks(
    source: Source, picture: Picture, kind: str, coco: _Annotations, rng: np.random.Generator
) -> str:
    """Write a rectangle of one class for each frame, and return the cell of the table."""
    height, width = picture.frames.shape[1:]
    names = MASK_SCHEMES[coco.scheme]
    masks = np.zeros(picture.frames.shape, np.uint8)
    folder = f"annotations {picture.code}"
    for number, mask in enumerate(masks):
        top, left = int(rng.integers(0, 40)), int(rng.integers(0, 56))
        bottom, right = top + int(rng.integers(1, 8)), left + int(rng.integers(1, 8))
        ids = int(rng.integers(1, len(names)))
        mask[top : bottom + 1, left : right + 1] = ids
        if kind == "mask":
            source.put(f"{folder}/{number}.png", to_png(mask))
        elif kind == "polygons":
            points = [[left + 0.5, top + 0.5], [right + 0.5, bottom + 0.5]]
            shape = {"label": names[ids], "shape_type": "rectangle", "points": points}
            content = {"imageHeight": height, "imageWidth": width, "shapes": [shape]}
            source.put(f"{folder}/{number}.json", json.dumps(content).encode())
        else:
            flat = (mask > 0).T.ravel()
            edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
            counts = ([0] if flat[0] else []) + np.diff(edges).tolist()
            coco.content["images"].append(
                {"id": picture.code, "file_name": folder, "height": height, "width": width}
            )
            coco.content["annotations"].append(
                {"id": picture.code, "image_id": picture.code, "category_id": ids,
                 "segmentation": {"size": [height, width], "counts": counts}}
            )  # fmt: skip
    source.masks[picture.code] = masks
    return folder


def _dicom(source: Source, rng: np.random.Generator) -> None:
    for number in range(int(rng.integers(3, 6))):
        form = _pick(rng, tuple(SYNTAXES))
        patient = f"case{number // 2}"
        name = f"{patient}/{_pick(rng, ('', 'series.1/'))}image.{number}"
        source.add(f"{name}{_pick(rng, ('', '.dcm'))}", form, rng, f"ID{patient}")


def _covid_blues(source: Source, rng: np.random.Generator) -> None:
    rows, patients = [], {}
    for number in range(int(rng.integers(3, 6))):
        patient = str(1 + number // 2)
        name = f"patient_{patient}_{'LR'[number % 2]}{rng.integers(1, 4)}"
        form = _pick(rng, ("mp4", "avi"))
        source.add(f"lus_videos/{name}.{form}", form, rng)
        rows.append({"video_file": name, "Severity Score": _pick(rng, ("", "0", "1", "2", "3")),
                     "A-lines": _pick(rng, ("yes", "no", "")), "B-lines": "no"})  # fmt: skip
        patients[patient] = {
            "patient_id": patient, covid_blues.AIR: _pick(rng, ("96", "-99")),
            covid_blues.OXYGEN: "", covid_blues.FLOW: "",
            "pat_sex": _pick(rng, ("0.0", "1", "")), "pat_age": "50", "pat_bmi": "-99",
            **dict.fromkeys(covid_blues.DIAGNOSES, "0"), "clin_diagn#healthy_lung": "1",
        }  # fmt: skip
    source.put_table("severity.csv", rows)
    source.put_table("clinical_variables.csv", list(patients.values()))


def _pocovid(source: Source, rng: np.random.Generator) -> None:
    rows = []
    for number in range(int(rng.integers(3, 6))):
        kind = _pick(rng, ("video", "image"))
        form = _pick(rng, ("mp4", "gif", "mov") if kind == "video" else ("jpg", "png"))
        probe, label = _pick(rng, ("Convex", "Linear")), _pick(rng, ("Regular", "COVID-19"))
        name = f"{label[:3]}_clip{number}"
        source.add(f"pocus_{kind}s/{probe.lower()}/{name}.{form}", form, rng)
        cells = dict.fromkeys(pocovid.COLUMNS, "0")
        cells |= {"Filename": name, "Label": label, "Type": kind.capitalize(), "Probe": probe}
        cells |= {"Patient ID / Name": f"Patient {number // 2}", "Effusion": _pick(rng, ("0", "1"))}
        cells |= {"Lung Severity Score": _pick(rng, ("", "1", "3"))}
        rows.append(cells | {"Area according to DEGUM": _pick(rng, ("", "1", "6"))})
    source.put_table("dataset_metadata.csv", rows)
