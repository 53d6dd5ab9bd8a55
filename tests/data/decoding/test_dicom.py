"""DICOM files give the frames of their fan, in every syntax that is read."""

import json

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from lus_ray.data import ledger
from lus_ray.data import store as stores
from lus_ray.data.check import check_store
from lus_ray.data.decoding.decoder import decode
from lus_ray.data.ingest import dicom
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ledger import Ledger
from lus_ray.errors import DecodeError
from tests.data.decoding import dicom_files as parts
from tests.rights import as_anybody

EXACT = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
)


@pytest.mark.parametrize("syntax", EXACT, ids=lambda syntax: syntax.keyword)
def test_lossless_syntaxes_give_the_pixels_as_they_were(syntax, tmp_path, decoder):
    path = parts.write(tmp_path / "a.dcm", parts.fan(), syntax=syntax)
    decoded = decoder.decode(path)
    assert np.array_equal(decoded.frames, parts.fan())
    assert (decoded.fps, decoded.format, decoded.num_declared) == (25.0, "DICOM", 6)


def test_jpeg_frames_give_the_pixels_nearly(tmp_path, decoder):
    smooth = np.zeros((4, 64, 64), np.uint8)
    smooth[:, 16:48, 16:48] = np.linspace(60, 180, 32, dtype=np.uint8)
    path = parts.write(tmp_path / "a.dcm", smooth, syntax=uid.JPEGBaseline8Bit)
    assert np.abs(decoder.decode(path).frames.astype(int) - smooth).mean() < 2


def test_the_region_is_cut_out_and_its_spacing_follows_the_shrinking(tmp_path, decoder):
    regions = [parts.region()]
    path = parts.write(tmp_path / "a", parts.fan(), SequenceOfUltrasoundRegions=regions)
    top, left, bottom, right = parts.REGION
    decoded = decoder.decode(path)
    assert np.array_equal(decoded.frames, parts.fan()[:, top:bottom, left:right])
    assert decoded.mm_per_pixel == pytest.approx(0.2)
    assert decoded.notes == ()
    half = decode(path, max_side=50)
    assert (half.frames.shape, half.height, half.width) == ((6, 40, 50), 80, 100)
    assert half.mm_per_pixel == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("regions", "note"),
    [
        (None, "no ultrasound region"),
        ([{}, {}], "2 ultrasound regions"),
        ([{"RegionDataType": 2}], "no ultrasound region"),
        ([{"PhysicalUnitsXDirection": 4}], "no spacing in centimetres"),
        ([{"PhysicalDeltaX": 0.03}], "not square"),
        ([{"PhysicalDeltaY": 0.0}], "no spacing in centimetres"),
    ],
)
def test_a_spacing_that_is_not_sure_is_not_known(regions, note, tmp_path, decoder):
    listed = regions and [parts.region(**changes) for changes in regions]
    path = parts.write(tmp_path / "a.dcm", parts.fan(), SequenceOfUltrasoundRegions=listed)
    decoded = decoder.decode(path)
    assert decoded.mm_per_pixel is None
    assert note in decoded.notes[0]


@pytest.mark.parametrize(
    ("elements", "fps"),
    [
        ({"FrameTime": 20.0, "CineRate": 7}, 50.0),
        ({"FrameTime": None, "FrameTimeVector": [0, 30, 50, 40, 40, 40]}, 25.0),
        ({"FrameTime": None, "CineRate": 30, "RecommendedDisplayFrameRate": 10}, 30.0),
        ({"FrameTime": None, "RecommendedDisplayFrameRate": 10}, 10.0),
        ({"FrameTime": None}, None),
        ({"FrameTime": 0.001}, None),
    ],
)
def test_the_frame_rate_comes_from_the_cine_module(elements, fps, tmp_path, decoder):
    path = parts.write(tmp_path / "a.dcm", parts.fan(), **elements)
    assert decoder.decode(path).fps == (fps and pytest.approx(fps))


def test_inverted_grey_is_turned_and_sixteen_bits_become_eight(tmp_path, decoder):
    fan = parts.fan()
    inverted = parts.write(tmp_path / "a.dcm", 255 - fan, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(decoder.decode(inverted).frames, fan)
    deep = parts.write(tmp_path / "b.dcm", fan.astype(np.uint16) * 16, BitsStored=12, HighBit=11)
    assert np.array_equal(decoder.decode(deep).frames, fan)


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colours_become_luma(kind, tmp_path, decoder):
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B; of YBR it is the first component."""
    red = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., :] = (200, 0, 0) if kind == "RGB" else (60, 94, 228)
    path = parts.write(tmp_path / "a.dcm", red, PhotometricInterpretation=kind)
    assert np.abs(decoder.decode(path).frames.astype(int) - 60).max() <= 1


def test_a_jpeg_of_ybr_that_the_header_calls_rgb_gives_the_same_luma(tmp_path, decoder):
    red = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    for kind in ("RGB", "YBR_FULL_422"):
        path = parts.write(
            tmp_path / f"{kind}.dcm",
            red,
            syntax=uid.JPEGBaseline8Bit,
            PhotometricInterpretation=kind,
        )
        assert np.abs(decoder.decode(path).frames.astype(int) - 60).max() <= 2


def test_a_folder_becomes_a_store_with_patients_by_folder_or_digest(tmp_path):
    root = tmp_path / "root"
    (root / "anna").mkdir(parents=True)
    (root / "berta").mkdir()
    regions = [parts.region()]
    for index, name in enumerate(("anna/1.2.840.7", "anna/two.dcm", "berta/IM0", "loose.dcm")):
        fan = parts.fan(seed=index)
        parts.write(root / name, fan, SequenceOfUltrasoundRegions=regions)
    parts.write(root / "nobody.dcm", parts.fan(), PatientID="")
    parts.write(root / "berta/text.dcm", parts.with_text(parts.fan()))
    (root / "notes.txt").write_text("hello")
    store = tmp_path / "store"
    assert ingest("dicom", root, store).num_clips == 4
    table = stores.read_index(store).to_pylist()
    patients = {row["clip"]: row["patient"] for row in table}
    digest = patients.pop("dicom/loose")
    assert patients == {
        "dicom/anna/1.2.840.7": "dicom/anna",
        "dicom/anna/two": "dicom/anna",
        "dicom/berta/IM0": "dicom/berta",
    }
    assert len(digest) == len("dicom/") + 16
    assert table[0]["mm_per_pixel"] == pytest.approx(0.2)
    told = {entry.item: entry.reason for entry in ledger.read(store / "ledger.jsonl")}
    assert "text" in told["dicom/berta/text"]
    assert "no patient id" in told["dicom/nobody"]
    assert "not a DICOM file" in told["notes.txt"]
    assert "anna, berta has the same PatientID" in told[digest.removeprefix("dicom/")]
    assert {row["group"] for row in table} == {min(digest, "dicom/anna")}
    kept = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert not [secret for secret in parts.SECRETS if secret.encode() in kept]


def test_folders_that_share_an_id_stay_in_one_group_whatever_is_read_later(tmp_path):
    people = {"anna": ["X"], "berta": ["Y", "X"], "carla": ["Y", "Z"], "dora": ["W"], "eva": [""]}
    for number, (name, ids) in enumerate(people.items()):
        (tmp_path / "root" / name).mkdir(parents=True)
        for k, who in enumerate(ids):
            fan = parts.fan(seed=10 * number + k)
            parts.write(tmp_path / "root" / name / f"{k}.dcm", fan, PatientID=who)
    store = tmp_path / "store"
    assert ingest("dicom", tmp_path / "root", store).num_groups == 3
    ingest("phantom", None, store, patients=1, clips=1, frames=2, size=64)
    group = {row["patient"]: row["group"] for row in stores.read_index(store).to_pylist()}
    assert group == {
        **{f"dicom/{name}": "dicom/anna" for name in ("anna", "berta", "carla")},
        **{name: name for name in ("dicom/dora", "dicom/eva", "phantom/A0-p0000")},
    }
    found = check_store(store)
    assert (found.num_groups, found.loose) == (4, ())


def test_a_file_and_a_folder_that_cannot_be_read_cost_themselves_alone(tmp_path):
    root = tmp_path / "root"
    for name in ("anna", "berta", "carla"):
        (root / name).mkdir(parents=True)
        parts.write(root / name / "1.dcm", parts.fan(seed=ord(name[0])))
    (root / "berta" / "1.dcm").chmod(0)
    (root / "carla").chmod(0)
    told = Ledger()
    with as_anybody():
        found = list(dicom.clips(root, told))
    assert [item["clip"] for item in found] == ["dicom/anna/1"]
    assert {entry.item: entry.reason for entry in told.entries} == {
        "berta/1": "not readable: Permission denied",
        "carla": "not readable: Permission denied",
    }


def test_text_beside_the_fan_is_taken_where_the_reader_is_told_so(tmp_path):
    root = tmp_path / "root" / "anna"
    root.mkdir(parents=True)
    parts.write(root / "text.dcm", parts.with_text(parts.fan()))
    ingest("dicom", root.parent, tmp_path / "store", allow_text=True)
    assert len(stores.read_index(tmp_path / "store")) == 1


def test_dicom_files_can_be_listed_with_labels_too(tmp_path):
    parts.write(tmp_path / "a.dcm", parts.fan())
    (tmp_path / "labels.csv").write_text("file,patient,severity\na.dcm,1,2\n")
    ingest("folder", tmp_path, tmp_path / "store")
    (row,) = stores.read(tmp_path / "store")
    assert (row["severity"], row["fps"], len(row["frames"])) == (2, 25.0, 6)


HOSTILE = {
    "many frames": ({"NumberOfFrames": 10**9}, "declares 1000000000 frames"),
    "more frames than there are": ({"NumberOfFrames": 60}, "truncated: 6 of 60 frames"),
    "huge rows": ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels; at most"),
    "no rows": ({"Rows": 0}, "no usable Rows"),
    "no image": ({"Rows": None}, "holds no image"),
    "cut": ({"PixelData": b"\x07" * 1000}, "no frame can be decoded"),
    "signed": ({"PixelRepresentation": 1}, "are signed"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    "odd colours": ({"PhotometricInterpretation": "DOE JANE"}, "an unknown one"),
    "no bits": ({"BitsStored": 0}, "no usable BitsStored"),
    "float": ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits in 32"),
    "declared text": ({"BurnedInAnnotation": "YES"}, "text is burned into the pixels"),
    "region outside": (
        {"SequenceOfUltrasoundRegions": [parts.region(RegionLocationMinX0=500)]},
        "outside of its image",
    ),
    "junk": (
        {"syntax": uid.JPEGBaseline8Bit, "PixelData": encapsulate([b"DOE JANE" * 99] * 6)},
        "no frame can be decoded",
    ),
    "a larger picture than the header's": (
        {
            "syntax": uid.JPEGBaseline8Bit,
            "PixelData": encapsulate([parts.jpeg(np.zeros((4000, 4000), np.uint8))] * 6),
        },
        "not of the size in the header",
    ),
    "lossless JPEG": (
        {"syntax": uid.JPEGLosslessSV1, "PixelData": encapsulate([b"\xff\xd8"] * 6)},
        "holds pixels as JPEG Lossless",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_that_names_nobody(name, tmp_path, decoder):
    elements, cause = HOSTILE[name]
    path = parts.write(tmp_path / "a.dcm", parts.fan(), **elements)
    with pytest.raises(DecodeError, match=cause) as caught:
        decoder.decode(path)
    assert "\n" not in str(caught.value)
    assert not [secret for secret in (*parts.SECRETS, "DOE") if secret in str(caught.value)]


def test_a_syntax_that_nobody_knows_is_refused_without_quoting_it(tmp_path, decoder):
    path = parts.write(tmp_path / "a.dcm", parts.fan(), syntax=uid.JPEGBaseline8Bit)
    content = path.read_bytes().replace(uid.JPEGBaseline8Bit.encode(), b"1.2.840.10008.9.9.9.99")
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="an unknown transfer syntax") as caught:
        decoder.decode(path)
    assert "9.9.9" not in str(caught.value)


def test_a_deflated_file_is_refused_before_it_is_inflated(tmp_path, decoder):
    path = parts.write(
        tmp_path / "bomb.dcm",
        np.zeros((200, 500, 500), np.uint8),
        syntax=uid.DeflatedExplicitVRLittleEndian,
    )
    assert path.stat().st_size < 100_000
    with pytest.raises(DecodeError, match="holds pixels as Deflated"):
        decoder.decode(path)


def outcome(decoder, path):
    try:
        return f"{len(decoder.decode(path).frames)} frames"
    except DecodeError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("syntax", [*EXACT[:2], uid.RLELossless, uid.JPEGBaseline8Bit])
def test_damage_anywhere_is_refused_or_costs_pixels_only(syntax, tmp_path, decoder):
    path = parts.write(tmp_path / "a.dcm", parts.fan(2), syntax=syntax)
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for turn in range(60):
        content = bytearray(sound)
        for at in rng.integers(0, min(1200, len(sound)) if turn % 2 else len(sound), 4):
            content[at] = rng.integers(256)
        path.write_bytes(content[: rng.integers(200, len(sound))] if turn % 3 == 0 else content)
        told = outcome(decoder, path)
        refused += "refused" in told
        assert not [secret for secret in parts.SECRETS if secret in told]
    assert refused > 10


def test_what_is_told_of_a_file_names_nobody(tmp_path, decoder):
    decoded = decoder.decode(parts.write(tmp_path / "a.dcm", parts.fan(), Modality="DOE"))
    told = json.dumps([decoded.notes, decoded.format])
    assert "not call it ultrasound" in told
    assert not [secret for secret in (*parts.SECRETS, "DOE") if secret in told]
