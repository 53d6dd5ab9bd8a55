"""Study files: imported from a path or from sources, hashed with the modules beside them."""

import pickle  # noqa: TID251  (as Ray does between its processes)
import subprocess
import sys
from functools import partial

import pytest

from lus_ray import study_files
from lus_ray.errors import CheckpointError, InputError

STUDY = """
from my_nets import Tiny
import my_layers
EXPERIMENT = Tiny
"""
NETS = "from my_layers import WIDTH\nclass Tiny:\n    width = WIDTH\n"
UNPICKLE = "import sys, pickle; print(pickle.load(sys.stdin.buffer)[1].width)"


@pytest.fixture
def folder(tmp_path):
    """A study with two modules beside it that it imports, and one that it does not."""
    (tmp_path / "my_study.py").write_text(STUDY)
    (tmp_path / "my_nets.py").write_text(NETS)
    (tmp_path / "my_layers.py").write_text("WIDTH = 3\n")
    (tmp_path / "other.py").write_text("raise SystemExit(1)\n")
    return tmp_path


def test_a_study_is_its_file_and_the_modules_that_it_imports(folder):
    study = study_files.load(folder / "my_study.py")
    assert set(study.sources) == {"my_study.py", "my_nets.py", "my_layers.py"}
    assert study.module.EXPERIMENT.width == 3
    assert study.find("Tiny") is study.module.Tiny
    assert study_files.file_of(study.module.Tiny) is study
    assert study_files.require(study.record) is study
    assert study.record["name"] == "my_study.py"


def test_only_what_the_files_define_is_found(folder):
    (folder / "my_study.py").write_text("from os import getcwd\nfrom pathlib import Path\n")
    study = study_files.load(folder / "my_study.py")
    assert [study.find(name) for name in ("Path", "getcwd", "Tiny", "__name__")] == [None] * 4


def test_the_hash_is_that_of_the_contents(folder, tmp_path_factory):
    first = study_files.load(folder / "my_study.py")
    assert study_files.load(folder / "my_study.py") is first
    copy = tmp_path_factory.mktemp("copy")
    for name in first.sources:
        (copy / name).write_text((folder / name).read_text())
    assert study_files.load(copy / "my_study.py").sha256 == first.sha256
    (folder / "my_layers.py").write_text("WIDTH = 4\n")
    changed = study_files.load(folder / "my_study.py")
    assert changed.sha256 != first.sha256
    assert (first.module.Tiny.width, changed.module.Tiny.width) == (3, 4)


def test_a_study_that_was_not_given_or_has_changed_is_refused(folder):
    record = study_files.load(folder / "my_study.py").record
    with pytest.raises(CheckpointError, match=r"with alien.py \(sha256 000\); give that file"):
        study_files.require({"name": "alien.py", "sha256": "000"})
    changed = {**record, "sha256": "1" * 64}
    with pytest.raises(CheckpointError, match=r"my_study.py is not the file .* not 111111111111\)"):
        study_files.require(changed)


def test_another_process_unpickles_the_classes_without_the_file(folder):
    study = study_files.load(folder / "my_study.py")
    sent = pickle.dumps([study, study.module.Tiny])
    for path in folder.iterdir():
        path.unlink()
    output = subprocess.run(
        [sys.executable, "-c", UNPICKLE], input=sent, capture_output=True, check=True
    )
    assert output.stdout.strip() == b"3"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("wrong.py", "x = 1\ny = z\n", "wrong.py line 2: NameError: name 'z' is not defined"),
        ("broken.py", "x = (\n", "line 1: SyntaxError"),
        ("absent_module.py", "import no_such_module\n", "ModuleNotFoundError: No module named"),
        ("exits.py", "import sys\nsys.exit('no')\n", "exits.py line 2: SystemExit: no"),
        ("numpy.py", "", "cannot be imported under the name of .*numpy.*; rename the file"),
        ("my-study.py", "", "cannot be imported under the name; rename the file"),
        ("study.txt", "", "is not a Python file"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_in_one_line(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        study_files.load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_studies_with_modules_of_one_name_do_not_mix(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "second.py").write_text("import my_layers\nWIDTH = my_layers.WIDTH\n")
    (other / "my_layers.py").write_text("WIDTH = 5\n")
    first = study_files.load(folder / "my_study.py")
    assert study_files.load(other / "second.py").module.WIDTH == 5
    again = study_files.load(folder / "my_study.py")
    assert again.module.my_layers.WIDTH == 3
    assert again.sha256 == first.sha256


@pytest.mark.parametrize(
    ("study", "is_file"),
    [("biomarkers", False), ("my_study.py", True), ("studies/mine", True), ("./x.py", True)],
)
def test_a_study_is_named_or_a_file(study, is_file):
    assert study_files.is_file_name(study) is is_file


def test_a_partial_belongs_to_no_file(folder):
    study = study_files.load(folder / "my_study.py")
    assert study_files.file_of(partial(study.module.Tiny)) is None
