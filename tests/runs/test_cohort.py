"""Selected clips: domains by role, frames that show a class, folds with both domains."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from experiments import dense_labels
from lus_ray.clip import MASK_SCHEMES, SCHEMA, make_row
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import FoldError, InputError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold, across_domains
from lus_ray.orchestration import run_options
from lus_ray.runs.cohort import check_folds, fingerprint, select
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from lus_ray.tasks import Segmentation

EXPERIMENT = Experiment(
    name="lines",
    title="Lines in two domains",
    folds=across_domains(3, val=False),
    arms=(Arm("place", partial(Segmentation), label="bline masks"),),
    metrics=("dice",),
    domains={"covid": ("covid", "A"), "cap": ("cap", "pneumonia", "B")},
    frames_with="B-line",
)
ROLES = replace(EXPERIMENT, frames_with="")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Six phantom patients of each domain with a clip of four frames each."""
    folder = tmp_path_factory.mktemp("domains") / "store"
    ingest(
        "phantom", None, folder, domain="A,B", masks="bline", patients=6, clips=1, frames=4, size=64
    )
    return folder


def select_of(folder, *clips, scheme="bline", names=(), experiment=EXPERIMENT):
    """The selection from clips given as (domain, class id of each frame's one masked pixel)."""
    if clips:
        with store.Writer(folder, "t") as writer:
            for number, (domain, ids) in enumerate(clips):
                masks = np.zeros((len(ids), 4, 4), np.uint8)
                masks[:, 2, 1] = ids
                names_of = {"clip": f"t/{number}", "patient": f"t/p{number}", "source": "t"}
                columns = {"domain": domain, "masks": masks, "mask_scheme": scheme}
                writer.add(make_row(np.full_like(masks, number), **names_of, **columns))
    return select(experiment, store.read_index(folder), folder, names=names)


def test_domains_are_renamed_to_their_roles_and_no_other_column_changes(both):
    index = store.read_index(both)
    named, table, notes = select_of(both, experiment=ROLES)
    assert named.domains == {"covid": ("A",), "cap": ("B",)}
    role_of = {"A": "covid", "B": "cap"}
    assert table["domain"].to_pylist() == [role_of[name] for name in index["domain"].to_pylist()]
    assert table.schema.equals(index.schema)
    assert table.drop_columns("domain").equals(index.drop_columns("domain"))
    assert notes == ()


def test_clips_without_a_frame_that_shows_the_class_are_skipped_with_a_note(tmp_path):
    clips = [("covid", [0, 1, 0, 1]), ("cap", [1]), ("cap", [0, 0]), ("covid", [1, 0])]
    _, table, notes = select_of(tmp_path, *clips)
    assert table["clip"].to_pylist() == ["t/0", "t/1", "t/3"]
    assert table["images"].to_pylist() == [[[1, 0], [3, 0]], [[0, 0]], [[0, 0]]]
    assert table.column_names == [*store.read_index(tmp_path).column_names, "images"]
    assert notes == ("1 of 4 clips skipped: no frame shows B-line",)


@pytest.mark.parametrize("scheme", ["dense", "sparse"])
def test_the_class_is_found_by_name_in_the_scheme_of_a_clip(tmp_path, scheme):
    line = MASK_SCHEMES[scheme].index("B-line")
    table = select_of(tmp_path, ("A", [1, line]), ("B", [line, 3]), scheme=scheme)[1]
    assert table["images"].to_pylist() == [[[1, 0]], [[0, 0]]]


def test_clips_of_other_domains_are_skipped_and_counted(tmp_path):
    names = ("A", "B", "C", "C", None, "pneumonia")
    named, table, notes = select_of(tmp_path, *((name, [1]) for name in names))
    assert named.domains["cap"] == ("pneumonia",), "the first known name wins"
    assert table["clip"].to_pylist() == ["t/0", "t/5"]
    assert notes == (
        "domains compared: covid ('A'), cap ('pneumonia'); "
        "clips of others skipped: 1 of 'B', 2 of 'C', 1 of None",
    )


def test_a_store_may_name_its_domains_freely(tmp_path):
    clips = [("east", [1]), ("west", [1])]
    named, table, _ = select_of(tmp_path, *clips, names=("west", "east"))
    assert named.domains == {"covid": ("west",), "cap": ("east",)}
    assert table["domain"].to_pylist() == ["cap", "covid"]


def test_swapped_domains_and_other_masks_change_the_fingerprint(both, tmp_path):
    known, swapped = (select_of(both, names=names)[1] for names in (("A", "B"), ("B", "A")))
    assert store.fingerprint(known) == store.fingerprint(select_of(both)[1])
    assert store.fingerprint(known) != store.fingerprint(swapped)
    first, second = (
        select_of(tmp_path / name, ("A", ids), ("B", [1]))[1]
        for name, ids in (("first", [1, 0]), ("second", [1, 1]))
    )
    assert store.fingerprint(first) == store.fingerprint(second)
    assert fingerprint(first) != fingerprint(second)
    whole = first.drop_columns("images")
    assert fingerprint(whole) == store.fingerprint(whole)


def test_an_experiment_without_domains_keeps_every_clip(both):
    index = store.read_index(both)
    assert select(dense_labels.EXPERIMENT, index, both) == (dense_labels.EXPERIMENT, index, ())


A, B = ("A", [1]), ("B", [1])


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        ([("east", [1]), ("west", [1])], {}, "this store has 'east', 'west'; .* with --domains"),
        ([A], {}, r"domain 'cap' \(known as 'cap', 'pneumonia', 'B'\); this store has 'A'"),
        ([(None, [1])], {}, "no clip of this store names its domain"),
        ([A, ("B", [0, 0])], {}, "lines: domain 'cap': no frame shows B-line"),
        ([A, ("B", [2])], {"scheme": "markers"}, "domain 'covid': no frame shows B-line"),
        ([A, B], {"names": ("A", "C")}, "no clip of domain 'C'; this store has 'A', 'B'"),
        ([A, B], {"names": ("A",)}, "--domains A: lines compares 2 domains"),
        ([A, B], {"names": ("A", "A")}, "store's names of 'covid', 'cap', in this order"),
        ([A, B], {"names": ("A", "B", "C")}, "--domains A,B,C: lines compares 2 domains"),
    ],
)
def test_domains_that_cannot_be_compared_are_refused_in_one_line(tmp_path, clips, options, message):
    with pytest.raises(InputError, match=message) as caught:
        select_of(tmp_path, *clips, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_domains_are_parsed_and_kept_in_the_command(both):
    with pytest.raises(InputError, match="--domains: dense_labels compares no domains"):
        run_options.parse_domains(dense_labels.EXPERIMENT, "A,B")
    assert run_options.parse_domains(dense_labels.EXPERIMENT, None) == ()
    assert run_options.parse_domains(EXPERIMENT, " A, B") == ("A", "B")
    command = run_options.format_command("lines", "smoke", {"domains": "A,B"})
    assert command == "lus run lines --size smoke --domains A,B"


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("ab", "c", "fold 3 tests no patient of domain 'cap'"),
        ("a", "cd", "fold 3 trains on no patient of domain 'cap'"),
        ("bc", "d", "fold 3 tests no patient of domain 'covid'"),
        ("b", "ad", "fold 3 trains on no patient of domain 'covid'"),
    ],
)
def test_folds_that_lack_a_domain_are_refused(tmp_path, train, test, message):
    table = select_of(tmp_path, A, B, A, B)[1]
    patient = dict(zip("abcd", sorted(table["patient"].to_pylist()), strict=True))
    first, bad = (
        Fold(number, *(tuple(patient[name] for name in names) for names in (train, "", test)))
        for number, train, test in ((0, "ab", "cd"), (3, train, test))
    )
    with pytest.raises(FoldError, match=message) as caught:
        check_folds(EXPERIMENT, [first, bad], table)
    assert "\n" not in str(caught.value)
    check_folds(EXPERIMENT, [first], table)


def plan_of(experiment, data, out, names=()):
    return prepare(RunRequest(experiment, data=data, out=out, size="full", domains=names))


def test_a_run_records_its_domains_and_its_clips_list_their_images(both, tmp_path):
    experiment = replace(EXPERIMENT, folds=across_domains(2, val=False))
    table = select_of(both, experiment=experiment)[1]
    plan = plan_of(experiment, both, tmp_path)
    written = json.loads((tmp_path / "experiment.json").read_text())
    assert written["domains"] == {"covid": ["A"], "cap": ["B"]}
    assert written["frames_with"] == "B-line"
    assert written["folds"] == {"name": "across_domains", "k": 2, "val": False}
    assert [row["images"] for row in plan.rows] == table["images"].to_pylist()
    assert {row["domain"] for row in plan.rows} == {"covid", "cap"}
    assert "images" not in SCHEMA.names
    domain = {row["patient"]: row["domain"] for row in plan.rows}
    assert all({domain[p] for p in fold.test} == {"covid", "cap"} for fold in plan.folds)


def test_a_run_with_other_domains_is_refused(both, tmp_path):
    plan_of(ROLES, both, tmp_path)
    plan_of(ROLES, both, tmp_path)
    with pytest.raises(InputError, match="holds a run with domains"):
        plan_of(ROLES, both, tmp_path, names=("B", "A"))


def split_by(folder, **splits):
    """The experiment with one fold, which a splits file assigns."""
    path = folder / "splits.json"
    path.write_text(json.dumps({"folds": [{"number": 0, **splits}]}))
    return run_options.apply_options(ROLES, "full", splits=path)


def test_patients_without_a_split_are_noted(both, tmp_path):
    first, second, *_ = sorted(set(store.read_index(both)["patient"].to_pylist()))
    experiment = split_by(tmp_path, train=[first], test=[second, "t/misspelt"])
    *_, unknown, unassigned = select_of(both, experiment=experiment)[2]
    assert unknown == "1 of 3 patients of splits.json are not in the store: t/misspelt"
    expected = "10 of 12 patients of the store are in no fold of splits.json"
    assert unassigned.startswith(expected)


def test_splits_of_one_domain_are_refused_before_anything_is_written(both, tmp_path):
    patients = sorted(set(store.read_index(both)["patient"].to_pylist()))
    experiment = split_by(tmp_path, train=patients[:3], test=patients[3:6])
    with pytest.raises(FoldError, match="fold 0 trains on no patient of domain 'cap'"):
        plan_of(experiment, both, tmp_path / "run")
    assert not (tmp_path / "run" / "experiment.json").exists()
