import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from lus_ray import clip
from lus_ray.data import ledger, store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import SourceError

HEADER = "file,patient,mask_scheme,"
IDS = np.random.default_rng(1).integers(0, 4, (40, 60), dtype=np.uint8)
"""All sparse classes."""


@pytest.fixture
def root(tmp_path, write_video):
    """Two still images of 40 x 60 pixels, and a video of two frames."""
    root = tmp_path / "own"
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    Image.fromarray(noise).save(root / "a.png")
    Image.fromarray(noise.T).save(root / "plain.png")
    write_video("own/v.mp4", np.zeros((2, 40, 60), np.uint8))
    return root


@pytest.fixture
def read(root, tmp_path):
    """`read(header, row, ...)` ingests the folder beside an unlabelled image: rows, reasons."""

    def run(header, *lines, **options):
        num_commas = header.count(",")
        rows = [line + "," * (num_commas - line.count(",")) for line in (*lines, "plain.png,9")]
        (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
        ingest("folder", root, tmp_path / "store", workers=1, **options)
        rows = {row["clip"]: row for row in store.read(tmp_path / "store")}
        assert clip.masks_of(rows.pop("folder/plain")) is None
        entries = ledger.read(tmp_path / "store" / "ledger.jsonl")
        skipped = {entry.item: entry.reason for entry in entries if entry.action == "skipped"}
        return rows, {k: why for k, why in skipped.items() if "no row for this file" not in why}

    return run


def save(ids, path, *, palette=(255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9), **settings):
    image = Image.fromarray(ids)
    if palette:
        image.putpalette(palette)
    image.save(path, **settings)


@pytest.mark.parametrize(
    ("ids", "scheme", "settings"),
    [
        (IDS, "sparse", {}),
        (IDS, "sparse", {"palette": None}),
        (IDS % 2, "bline", {"palette": (0, 0, 0, 255, 255, 255), "bits": 1}),
    ],
)
def test_a_png_of_class_ids_is_read_back_pixel_by_pixel(ids, scheme, settings, root, read):
    (root / "annotations.json").write_text("{")  # no row needs it
    save(ids, root / "a mask.png", **settings)
    rows, skipped = read(HEADER + "mask,coco", f"a.png,1,{scheme},a mask.png,")
    assert rows["folder/a"]["mask_scheme"] == scheme
    assert (clip.masks_of(rows["folder/a"]) == ids).all()
    assert not skipped


def test_masks_shrink_with_their_frames(root, read):
    square = np.zeros((40, 60), np.uint8)
    square[10:20, 30:42] = 1
    Image.fromarray(square * 255).save(root / "a.png")
    save(square, root / "m.png")
    row = read(HEADER + "mask", "a.png,1,bline,m.png", max_side=30)[0]["folder/a"]
    assert clip.frames_of(row).shape == (1, 20, 30)
    assert (clip.masks_of(row) == (clip.frames_of(row) > 127)).all()


def test_a_video_takes_a_folder_of_one_png_per_frame(root, read, write_video):
    write_video("own/v.mp4", np.zeros((11, 40, 60), np.uint8))
    (root / "v masks").mkdir()
    for number in range(11):
        save((IDS + number) % 4, root / "v masks" / f"{number:0{1 + number % 3}}.png")
    (root / "v masks" / ".hidden").touch()
    rows, skipped = read(HEADER + "mask", "v.mp4,1,sparse,v masks")
    expected = [(IDS + number) % 4 for number in range(11)]
    assert np.array_equal(clip.masks_of(rows["folder/v"]), expected)
    assert not skipped


def write_labelme(path, label="pleura"):
    shape = {"label": label, "shape_type": "rectangle", "points": [[10, 5], [19, 9]]}
    path.write_text(json.dumps({"imageHeight": 40, "imageWidth": 60, "shapes": [shape]}))


def test_an_image_takes_a_labelme_file_and_a_video_a_folder_of_them(root, read):
    write_labelme(root / "a.json")
    (root / "v").mkdir()
    write_labelme(root / "v" / "0.json", "A-line")
    write_labelme(root / "v" / "1.json", "B-line")
    rows, _ = read(HEADER + "polygons", "a.png,1,sparse,a.json", "v.mp4,1,sparse,v")
    (mask,) = clip.masks_of(rows["folder/a"])
    assert (mask[5:10, 10:20] == 3).all()
    assert np.count_nonzero(mask) == 50
    assert clip.masks_of(rows["folder/v"]).max(axis=(1, 2)).tolist() == [1, 2]


def write_coco(root, height=40):
    shapes = [[[10, 5, 19, 5, 19, 9, 10, 9]], {"size": [40, 60], "counts": [0, 40, 2360]}]
    objects = [{"image_id": 4, "category_id": 1, "segmentation": shape} for shape in shapes]
    images = [{"id": 4, "file_name": "x/a.png", "height": height, "width": 60}]
    content = {"images": images, "annotations": objects}
    content["categories"] = [{"id": 1, "name": "b-line"}]
    (root / "annotations.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_one_coco_file_serves_a_folder_and_the_summary_counts_schemes(root, read, tmp_path):
    write_coco(root)
    rows, _ = read(HEADER + "coco", "a.png,1,bline,x/a.png")
    (mask,) = clip.masks_of(rows["folder/a"])
    assert mask[:, 0].all()
    assert (mask[5:10, 10:20] == 1).all()
    assert np.count_nonzero(mask) == 90
    summary = ingest("folder", root, tmp_path / "store", workers=1)
    assert summary.labels["mask_scheme"] == {"bline": 1}


def test_a_mask_of_another_scheme_size_or_pixel_type_is_refused(root, read):
    exif = Image.Exif()
    exif[0x0112] = 3
    moving = {"save_all": True, "append_images": [Image.fromarray(IDS[::-1].copy())]}
    unfit = {
        "large": (IDS + 4, {}, "pixel value 7 is no class of scheme 'sparse', which has 0 to 3"),
        "small": (IDS[:39], {}, "drawn on 39 x 60 pixels, but the image has 40 x 60"),
        "turned": (IDS.T, {}, "drawn on 60 x 40 pixels"),
        "colour": (np.stack([IDS] * 3, 2), {}, "a PNG of mode RGB"),
        "deep": (IDS.astype(np.uint16), {}, "with 16 bits"),
        "alpha": (np.stack([IDS] * 2, 2), {}, "a PNG of mode LA"),
        "bit": (IDS > 1, {}, "with 1 bits"),
        "jpeg": (IDS, {"format": "JPEG"}, "not a readable PNG"),
        "cut": (IDS, {}, "not a readable PNG"),
        "worn": (IDS, {}, "not a readable PNG"),
        "exif": (IDS, {"exif": exif}, "animated or rotated"),
        "moving": (IDS, moving, "animated or rotated"),
    }
    for name, (pixels, settings, _) in unfit.items():
        save(pixels, root / f"m {name}.png", palette=None, **settings)
        shutil.copy(root / "a.png", root / f"{name}.png")
    (root / "m cut.png").write_bytes((root / "m large.png").read_bytes()[:300])
    worn = bytearray((root / "m worn.png").read_bytes())
    worn[-20:-16] = bytes(4)  # the checksum of the pixels
    (root / "m worn.png").write_bytes(worn)
    table = [f"{name}.png,1,sparse,m {name}.png" for name in unfit]
    rows, skipped = read(HEADER + "mask", *table, "v.mp4,1,sparse,m large.png")
    assert not rows
    for name, (_, _, reason) in unfit.items():
        assert re.match(rf"m {name}\.png: .*{reason}", skipped[f"{name}.png"])
    assert "m large.png: 1 masks for 2 frames" in skipped["v.mp4"]


def test_a_folder_without_one_mask_per_frame_is_refused(root, read, tmp_path):
    save(IDS, tmp_path / "outside.png")
    folders = {
        "few": ("0.png", "few: 1 masks for 2 frames"),
        "many": ("0.png 1.png 2.png", "many: 3 masks for 2 frames"),
        "from one": ("1.png 2.png", "from one: no 0.png; frames are counted from 0"),
        "twice": ("0.png 00.png 1.png", "twice/00.png: masks are named by the number"),
        "named": ("0.png b.png", "named/b.png: masks are named by the number"),
        "mixed": ("0.png 1.txt", "mixed/1.txt: masks are named by the number"),
        "empty": ("", "empty: 0 masks for 2 frames"),
        "link": ("0.png", "link/1.png: is not a file; remove it"),
    }
    for name, (masks, _) in folders.items():
        (root / name).mkdir()
        for mask in masks.split():
            shutil.copy(tmp_path / "outside.png", root / name / mask)
        shutil.copy(root / "v.mp4", root / f"{name}.mp4")
    (root / "link" / "1.png").symlink_to(tmp_path / "absent.png")
    rows, skipped = read(HEADER + "mask", *(f"{name}.mp4,1,sparse,{name}" for name in folders))
    assert not rows
    for name, (_, reason) in folders.items():
        assert skipped[f"{name}.mp4"].startswith(reason)


def test_annotations_that_do_not_fit_are_refused_with_their_file(root, read):
    shutil.copy(root / "a.png", root / "b.png")
    write_labelme(root / "rib.json", "rib")
    write_coco(root, height=41)
    table = ["a.png,1,sparse,rib.json,", "b.png,1,bline,,x/a.png", "v.mp4,1,bline,,x/a.png"]
    rows, skipped = read(HEADER + "polygons,coco", *table)
    assert not rows
    assert skipped["a.png"].startswith("rib.json: shape 1 'rib' is no class")
    assert "annotations.json (x/a.png): drawn on 41 x 60 pixels" in skipped["b.png"]
    assert "2 frames, but 'coco' is for still images" in skipped["v.mp4"]


CELLS = {
    "sparse,,": "no mask with 'mask_scheme' 'sparse'; write the scheme and exactly one",
    ",m.png,": "['mask'] with 'mask_scheme' ''",
    "sparse,m.png,m.png": "['mask', 'polygons'] with",
    "sparse,n.png,": "no file 'n.png' in the folder",
    "sparse,../outside.png,": "'../outside.png' leads out of the folder",
    "sparse,pipe,": "'pipe' is neither a file nor a folder",
}


def test_a_row_without_a_clear_mask_is_refused(root, read, tmp_path):
    save(IDS, root / "m.png")
    save(IDS, tmp_path / "outside.png")
    os.mkfifo(root / "pipe")
    for number in range(len(CELLS)):
        shutil.copy(root / "a.png", root / f"{number}.png")
    table = [f"{number}.png,1,{cells}" for number, cells in enumerate(CELLS)]
    rows, skipped = read(HEADER + "mask,polygons", *table)
    assert not rows
    for number, reason in enumerate(CELLS.values()):
        assert skipped[f"{number}.png"].startswith(f"labels.csv row {number + 2}: ")
        assert reason in skipped[f"{number}.png"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,patient,mask\na.png,1,m.png\n", "column 'mask' needs a column 'mask_scheme' with"),
        ("file,patient,mask_scheme\na.png,1,sparse\n", "'mask_scheme' needs one of the columns"),
        ("file,patient,mask_scheme,masks\na.png,1,,\n", "'masks' is unknown; did you mean 'mask'"),
        ("file,patient,mask_scheme,mask,polygon\na.png,1,,,\n", "did you mean 'polygons'"),
        ("file,patient,mask_scheme,coco\nplain.png,1,sparse,a\n", "no file 'annotations.json'"),
        (HEADER + "mask\na.png,1,Sparse,m.png\n", "'Sparse'; did you mean 'sparse'"),
        (HEADER + "coco,damaged\na.png,1,bline,a.png,\n", "json: not a readable JSON file"),
    ],
)
def test_a_table_with_impossible_masks_is_refused_as_a_whole(text, reason, root, tmp_path):
    if "damaged" in text:
        (root / "annotations.json").write_text("{")
    (root / "labels.csv").write_text(text)
    with pytest.raises(SourceError, match=reason) as caught:
        ingest("folder", root, tmp_path / "store", workers=1)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_a_removed_frame_takes_its_mask_and_its_grade_with_it(root, write_video, read):
    noise = np.random.default_rng(3).integers(0, 255, (5, 48, 64), dtype=np.uint8)
    content = bytearray(write_video("own/v.mp4", noise, codec="png", pix_fmt="gray").read_bytes())
    third = [found.start() for found in re.finditer(b"IDAT", content)][2]
    content[third + 20 : third + 60] = bytes(40)
    (root / "v.mp4").write_bytes(content)
    (root / "m").mkdir()
    for number in range(5):
        save(np.full((48, 64), number, np.uint8), root / "m" / f"{number}.png", palette=None)
    rows, _ = read(HEADER + "mask,frame_severity", "v.mp4,1,dense,m,0;1;2;3;0")
    assert clip.masks_of(rows["folder/v"])[:, 0, 0].tolist() == [0, 1, 3, 4]
    assert rows["folder/v"]["frame_severity"] == [0, 1, 3, 0]
    (root / "m" / "4.png").unlink()
    rows, skipped = read(HEADER + "mask,frame_severity", "v.mp4,1,dense,m,0;1;2;3;0")
    assert "folder/v" not in rows
    assert "m: 4 masks for 5 frames, of which 1 are damaged" in skipped["v.mp4"]
