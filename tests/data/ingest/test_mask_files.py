"""One's own masks reach the store as they were drawn, or their clip is in the ledger."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from lus_ray import clip
from lus_ray.data import ledger, store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import SourceError

HEADER = "file,patient,mask_scheme,"


@pytest.fixture
def root(tmp_path):
    """A folder with a still image of 40 x 60 pixels."""
    root = tmp_path / "own"
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    Image.fromarray(noise).save(root / "a.png")
    Image.fromarray(noise.T).save(root / "plain.png")
    return root


@pytest.fixture
def ids():
    """All sparse classes on 40 x 60 pixels."""
    return np.random.default_rng(1).integers(0, 4, (40, 60), dtype=np.uint8)


@pytest.fixture
def read(root, tmp_path):
    """`read(header, row, ...)` ingests the folder beside an unlabelled image: rows, reasons."""

    def run(header: str, *rows: str, **options: object):
        plain = "plain.png,9,"
        (root / "labels.csv").write_text("\n".join([header, *rows, plain]) + "\n")
        ingest("folder", root, tmp_path / "store", workers=1, **options)
        found = {row["clip"]: row for row in store.read(tmp_path / "store")}
        assert clip.masks_of(found.pop("folder/plain")) is None
        entries = ledger.read(tmp_path / "store" / "ledger.jsonl")
        return found, {entry.item: entry.reason for entry in entries if entry.action == "skipped"}

    return run


def save(ids, path, *, palette=True):
    image = Image.fromarray(ids)
    if palette:
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.save(path)


@pytest.mark.parametrize("palette", [True, False])
def test_a_png_of_class_ids_is_read_back_pixel_by_pixel(palette, root, ids, read):
    save(ids, root / "a mask.png", palette=palette)
    rows, skipped = read(HEADER + "mask", "a.png,1,sparse,a mask.png")
    row = rows["folder/a"]
    assert row["mask_scheme"] == "sparse"
    assert (clip.masks_of(row) == ids).all()
    assert not skipped


def test_a_palette_of_two_colours_is_packed_into_single_bits(root, read):
    ids = np.zeros((40, 60), np.uint8)
    ids[:, 30:] = 1
    image = Image.fromarray(ids)
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(root / "m.png", bits=1)
    rows, _ = read(HEADER + "mask", "a.png,1,bline,m.png")
    assert (clip.masks_of(rows["folder/a"]) == ids).all()


def test_masks_shrink_with_the_frames_to_the_class_at_the_centre(root, ids, read):
    save(ids, root / "m.png")
    rows, _ = read(HEADER + "mask", "a.png,1,sparse,m.png", max_side=20)
    assert clip.frames_of(rows["folder/a"]).shape == (1, 13, 20)
    found = clip.masks_of(rows["folder/a"])[0]
    # A third of 60 columns: the centre of pixel 5 is that of pixel 16.
    assert found[6, 5] == ids[20, 16]
    assert set(np.unique(found)) <= set(np.unique(ids))


def test_a_shrunk_mask_lies_where_the_shrunk_image_is_bright(root, read):
    square = np.zeros((40, 60), np.uint8)
    square[10:20, 30:42] = 1
    Image.fromarray(square * 255).save(root / "a.png")
    save(square, root / "m.png")
    rows, _ = read(HEADER + "mask", "a.png,1,bline,m.png", max_side=30)
    row = rows["folder/a"]
    assert (clip.masks_of(row) == (clip.frames_of(row) > 127)).all()


def test_a_video_takes_a_folder_of_one_png_a_frame(root, ids, read, write_video):
    write_video("own/v.mp4", np.zeros((11, 40, 60), np.uint8))
    (root / "v masks").mkdir()
    for number in range(11):
        save((ids + number) % 4, root / "v masks" / f"{number:0{1 + number % 3}}.png")
    (root / "v masks" / ".hidden").touch()
    rows, skipped = read(HEADER + "mask", "v.mp4,1,sparse,v masks")
    masks = clip.masks_of(rows["folder/v"])
    assert [(mask == (ids + number) % 4).all() for number, mask in enumerate(masks)] == [True] * 11
    assert not skipped


def labelme(path, label="pleura", height=40, width=60):
    shape = {"label": label, "shape_type": "rectangle", "points": [[10, 5], [19, 9]]}
    content = {"imageHeight": height, "imageWidth": width, "shapes": [shape]}
    path.write_text(json.dumps(content))


def test_labelme_polygons_are_drawn(root, read):
    labelme(root / "a.json")
    rows, _ = read(HEADER + "polygons", "a.png,1,sparse,a.json")
    masks = clip.masks_of(rows["folder/a"])
    assert (masks[0, 5:10, 10:20] == 3).all()
    assert np.count_nonzero(masks) == 50


def test_a_video_takes_a_folder_of_one_labelme_file_a_frame(root, read, write_video):
    write_video("own/v.mp4", np.zeros((2, 40, 60), np.uint8))
    (root / "v").mkdir()
    labelme(root / "v" / "0.json", "A-line")
    labelme(root / "v" / "1.json", "B-line")
    rows, _ = read(HEADER + "polygons", "v.mp4,1,sparse,v")
    assert clip.masks_of(rows["folder/v"]).max(axis=(1, 2)).tolist() == [1, 2]


def coco(root, **image):
    content = {
        "images": [{"id": 4, "file_name": "x/a.png", "height": 40, "width": 60} | image],
        "categories": [{"id": 1, "name": "b-line"}],
        "annotations": [
            {"image_id": 4, "category_id": 1, "segmentation": [[10, 5, 19, 5, 19, 9, 10, 9]]},
            {
                "image_id": 4,
                "category_id": 1,
                "segmentation": {"size": [40, 60], "counts": [0, 40, 2360]},
            },
        ],
    }
    (root / "annotations.json").write_text(json.dumps(content))


def test_one_coco_file_serves_a_folder_by_the_name_in_the_table(root, read):
    coco(root)
    rows, _ = read(HEADER + "coco", "a.png,1,bline,x/a.png")
    masks = clip.masks_of(rows["folder/a"])
    assert masks[0, :, 0].all()
    assert (masks[0, 5:10, 10:20] == 1).all()
    assert np.count_nonzero(masks) == 90


def test_the_summary_counts_clips_by_scheme(root, ids, tmp_path):
    save(ids, root / "m.png")
    (root / "labels.csv").write_text(HEADER + "mask\na.png,1,sparse,m.png\nplain.png,2,,\n")
    summary = ingest("folder", root, tmp_path / "store", workers=1)
    assert summary.labels["mask_scheme"] == {"sparse": 1}


def test_a_mask_of_another_scheme_or_size_or_kind_is_in_the_ledger(root, ids, read, write_video):
    write_video("own/v.mp4", np.zeros((3, 40, 60), np.uint8))
    pictures = {
        "large": Image.fromarray(ids + 4),
        "small": Image.fromarray(ids[:39]),
        "turned": Image.fromarray(ids.T),
        "colour": Image.fromarray(np.stack([ids] * 3, 2)),
        "deep": Image.fromarray(ids.astype(np.uint16)),
        "alpha": Image.fromarray(np.stack([ids] * 2, 2)),
        "bit": Image.fromarray(ids > 1),
    }
    for name, picture in pictures.items():
        picture.save(root / f"m {name}.png")
    Image.fromarray(ids).save(root / "m jpeg.png", format="JPEG")
    (root / "m cut.png").write_bytes((root / "m large.png").read_bytes()[:300])
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(ids).save(root / "m exif.png", exif=exif)
    moving = [Image.fromarray(ids), Image.fromarray(ids[::-1].copy())]
    moving[0].save(root / "m moving.png", save_all=True, append_images=moving[1:])
    reasons = {
        "large": "pixel value 7 is no class of scheme 'sparse', which has 0 to 3",
        "small": "drawn on 39 x 60 pixels, but the image has 40 x 60",
        "turned": "drawn on 60 x 40 pixels",
        "colour": "a PNG of mode RGB",
        "deep": "with 16 bits",
        "alpha": "a PNG of mode LA",
        "bit": "with 1 bits",
        "jpeg": "not a readable PNG",
        "cut": "not a readable PNG",
        "exif": "animated or rotated",
        "moving": "animated or rotated",
    }
    for name in reasons:
        (root / f"{name}.png").write_bytes((root / "a.png").read_bytes())
    table = [f"{name}.png,1,sparse,m {name}.png" for name in reasons]
    rows, skipped = read(HEADER + "mask", *table, "v.mp4,1,sparse,m large.png")
    assert not rows
    for name, reason in reasons.items():
        assert skipped[f"folder/{name}"].startswith(f"m {name}.png: ")
        assert reason in skipped[f"folder/{name}"]
    assert "m large.png: 1 masks for 3 frames" in skipped["folder/v"]


def test_a_folder_of_masks_without_one_for_each_frame_is_in_the_ledger(
    root, ids, read, write_video, tmp_path
):
    write_video("own/v.mp4", np.zeros((2, 40, 60), np.uint8))
    save(ids, tmp_path / "outside.png")
    files = {
        "few": (["0.png"], "few: 1 masks for 2 frames"),
        "many": (["0.png", "1.png", "2.png"], "many: 3 masks for 2 frames"),
        "from one": (["1.png", "2.png"], "from one: no 0.png; frames are counted from 0"),
        "twice": (["0.png", "00.png", "1.png"], "twice/00.png: masks are named by the number"),
        "named": (["0.png", "b.png"], "named/b.png: masks are named by the number"),
        "mixed": (["0.png", "1.txt"], "mixed/1.txt: masks are named by the number"),
        "empty": ([], "empty: 0 masks for 2 frames"),
        "link": (["0.png"], "link/1.png: leads out of the folder"),
    }
    for name, (masks, _) in files.items():
        (root / name).mkdir()
        for mask in masks:
            save(ids, root / name / "x.png")
            (root / name / "x.png").rename(root / name / mask)
        (root / f"{name}.mp4").write_bytes((root / "v.mp4").read_bytes())
    (root / "link" / "1.png").symlink_to(tmp_path / "outside.png")
    rows, skipped = read(HEADER + "mask", *(f"{name}.mp4,1,sparse,{name}" for name in files))
    assert not rows
    for name, (_, reason) in files.items():
        assert skipped[f"folder/{name}"].startswith(reason)


def test_annotations_that_do_not_fit_are_in_the_ledger_with_their_file(root, read, write_video):
    write_video("own/v.mp4", np.zeros((2, 40, 60), np.uint8))
    for name in ("b", "c"):
        (root / f"{name}.png").write_bytes((root / "a.png").read_bytes())
    labelme(root / "rib.json", "rib")
    coco(root, height=41)
    rows, skipped = read(
        HEADER + "polygons,coco",
        "a.png,1,sparse,rib.json,",
        "b.png,1,bline,,x/a.png",
        "c.png,1,bline,,x/c.png",
        "v.mp4,1,bline,,x/a.png",
    )
    assert not rows
    assert skipped["folder/a"].startswith("rib.json: shape 1 'rib' is no class")
    assert "annotations.json (x/a.png): drawn on 41 x 60 pixels" in skipped["folder/b"]
    assert "annotations.json (x/c.png): 0 images have this" in skipped["folder/c"]
    assert "2 frames, but 'coco' is for still images" in skipped["folder/v"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("Sparse,m.png,", "'mask_scheme' is 'Sparse'; one of ('dense', 'sparse',"),
        ("sparse,,", "no mask with 'mask_scheme' 'sparse'; write the scheme and exactly one"),
        (",m.png,", "['mask'] with 'mask_scheme' ''"),
        ("sparse,m.png,m.png", "['mask', 'polygons'] with"),
        ("sparse,n.png,", "no file 'n.png' in the folder"),
        ("sparse,../outside.png,", "'../outside.png' leads out of the folder"),
        ("sparse,pipe,", "'pipe' is neither a file nor a folder"),
    ],
)
def test_a_row_that_does_not_say_where_its_mask_is_is_in_the_ledger(
    cells, reason, root, ids, read, tmp_path
):
    save(ids, root / "m.png")
    save(ids, tmp_path / "outside.png")
    os.mkfifo(root / "pipe")
    rows, skipped = read(HEADER + "mask,polygons", f"a.png,1,{cells}")
    assert not rows
    assert skipped["a.png"].startswith("labels.csv row 2: ")
    assert reason in skipped["a.png"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,patient,mask\na.png,1,m.png\n", "column 'mask' needs a column 'mask_scheme' with"),
        ("file,patient,mask_scheme\na.png,1,sparse\n", "'mask_scheme' needs one of the columns"),
        ("file,patient,mask_scheme,masks\na.png,1,,\n", "needs one of the columns"),
        ("file,patient,mask_scheme,mask,polygon\na.png,1,,,\n", "did you mean 'polygons'"),
        ("file,patient,mask_scheme,coco\na.png,1,sparse,a.png\n", "no file 'annotations.json'"),
    ],
)
def test_a_table_that_cannot_mean_masks_is_refused_as_a_whole(text, reason, root, tmp_path):
    (root / "labels.csv").write_text(text)
    with pytest.raises(SourceError, match=reason) as caught:
        ingest("folder", root, tmp_path / "store", workers=1)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_coco_file_refuses_the_ingest(root, tmp_path):
    (root / "annotations.json").write_text("{")
    (root / "labels.csv").write_text(HEADER + "coco\na.png,1,bline,a.png\n")
    with pytest.raises(SourceError, match=r"annotations\.json: not a readable JSON file"):
        ingest("folder", root, tmp_path / "store", workers=1)


def test_a_coco_file_that_no_row_asks_for_is_not_read(root, ids, read):
    (root / "annotations.json").write_text("{")
    save(ids, root / "m.png")
    rows, _ = read(HEADER + "mask,coco", "a.png,1,sparse,m.png,")
    assert list(rows) == ["folder/a"]
