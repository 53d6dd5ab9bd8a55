import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.data.ledger import Ledger
from lus_ray.data.store import record_source
from lus_ray.errors import InputError
from lus_ray.report import pack
from lus_ray.report.pack import data_items, evaluations, ingested, privacy, tripod
from lus_ray.report.pack.checklist import FILLED, ITEMS, OPEN, PARTLY, STATUSES
from lus_ray.runs import manifest
from tests.evaluation.external.external_run import EXTERNAL, NET, PRIOR, write_external
from tests.evaluation.run_folders import PATIENTS, arm, write_cell, write_run
from tests.report.conftest import write_without_charts

PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc",
         23: "ab", 27: "abc"}  # fmt: skip
PUBLISHED = [f"{item}{part}" for item in range(1, 28) for part in PARTS.get(item, [""])]
"""The parts of the items as the statement numbers them."""
ALL = ("clip_report", "frame_report", "mask_report", "domain_report", "diagnosis_report")
WEIGHTS = {"name": "jane.safetensors", "sha256": "ab" * 32}
RECIPE = {"epochs": 3, "lr": 0.1, "batch": 4, "select": "best"}
E2E = arm("e2e", recipe=RECIPE, weights=WEIGHTS)
STORED = {"max_side": 512, "joined": [["folder/jane", "folder/joan"]], "options": {}}
COUNTS = {"source": "folder", "num_clips": 48, "num_patients": 24, "num_files": 52,
          "num_skipped_files": 3, "labels": {"severity": {"0": 20, "3": 21}}}  # fmt: skip
LEDGER = (
    ("skip", "jane doe/a1.mp4", "a1.mp4: cannot be decoded (damaged header)"),
    ("skip", "jane doe/b2.mp4", "b2.mp4: cannot be decoded (damaged header)"),
    ("skip", "c3.mp4", "the same file as 'jane doe/a1.mp4', which is read; remove it"),
    ("repair", "folder/d4", "repaired: 2 of 30 frames removed"),
    ("note", "folder/e5", "patient Jane_Doe_7 counts as jane doe/a1.mp4"),
)
PRIVATE = ("jane", "Jane", "doe", "Doe", "a1", "b2", "c3", "d4", "e5", "mp4")


def write_real_run(folder, *, labels=COUNTS):
    """A finished run on a store with a ledger, at a path that names a person."""
    store = folder / "jane doe"
    store.mkdir()
    record_source(store, "folder", {**STORED, "summary": labels})
    ledger = Ledger()
    for action, item, reason in LEDGER:
        getattr(ledger, action)("folder", item, reason)
    ledger.write(store / "ledger.jsonl", source="folder")
    sources = {"folder": {**STORED, "summary": labels}}
    data = {"clips": 48, "patients": 24, "groups": 23, "fingerprint": "f" * 64, "sources": sources}
    command = f"lus run biomarkers --data '{store}' --size full --out={folder}/runs"
    out = write_run(
        folder / "run", [E2E], data=data, data_path=str(store), commands=[command], size="full"
    )
    write_cell(out, E2E, 0)
    return out


def read_texts(folder):
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def items_of(folder):
    items = json.loads((folder / "tripod_ai.json").read_text())["items"]
    return {item["number"]: item for item in items}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    out = write_real_run(tmp_path_factory.mktemp("real"))
    return pack.write(write_without_charts(out).contents, out)


def test_the_items_are_those_of_the_statement():
    assert [item.number for item in ITEMS] == PUBLISHED
    assert len({number.rstrip("abcdefg") for number in PUBLISHED}) == 27
    assert set(tripod.FILLERS) < set(PUBLISHED)
    assert all(item.asks.endswith("?") and item.write.endswith(".") for item in ITEMS)


@pytest.mark.parametrize("name", ALL)
def test_every_study_has_a_pack(name, request):
    written = request.getfixturevalue(name)
    folder = pack.write(written.contents, written.out)
    items = items_of(folder)
    assert list(items) == PUBLISHED
    for item in items.values():
        assert item["status"] in STATUSES
        assert bool(item["found"]) == (item["status"] != OPEN)
        assert bool(item["write"]) == (item["status"] != FILLED)
    texts = read_texts(folder)
    assert set(texts) == {
        f"{stem}.{end}" for stem in ("model_card", "tripod_ai") for end in ("html", "json", "md")
    }
    for text in texts.values():
        assert not [patient for patient in PATIENTS if patient in text]
        assert str(written.out.parent) not in text
        assert "research only" in text
    assert json.loads(texts["model_card.json"])["models"]
    page = texts["tripod_ai.html"]
    assert all(page.count(f'id="item-{number}"') == 1 for number in PUBLISHED)


def test_pages_refer_to_nothing_outside(packed):
    for name, text in read_texts(packed).items():
        if name.endswith(".html"):
            assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link", text)


def test_missing_data_come_from_the_ledger_without_names(packed):
    found = " ".join(items_of(packed)["11"]["found"])
    for text in (
        "3 files of 52 skipped",
        "3 skipped, 1 repaired and 1 noted",
        "skipped: cannot be decoded (damaged header) (2)",
        "severity is missing in 7 of 48 clips",
    ):
        assert text in found
    for text in read_texts(packed).values():
        assert not [name for name in PRIVATE if re.search(rf"\b{name}\b", text)]
    assert "lus run biomarkers --data STORE --size full --out=RUN" in read_texts(packed)[
        "model_card.md"
    ]  # fmt: skip


def test_what_people_know_is_not_claimed_for_real_patients(packed):
    status = {number: item["status"] for number, item in items_of(packed).items()}
    known_to_people = ("3a", "3b", "3c", "5b", "6c", "8c", "17", "18a", "18b", "18d", "19", "27c")
    assert {number: status[number] for number in known_to_people} == dict.fromkeys(
        known_to_people, OPEN
    )
    assert [number for number in ("5a", "11", "23a", "26") if status[number] != PARTLY] == []
    assert status["12a"] == FILLED


def test_a_store_that_is_gone_or_has_changed_says_so(tmp_path):
    out = write_real_run(tmp_path)
    record = manifest.read(out)
    assert ingested.read(record, out)[0].reasons is not None
    other = {"folder": {**STORED, "summary": {**COUNTS, "num_clips": 49}}}
    changed = replace(record, data=replace(record.data, sources=other))
    gone = replace(record, data_path="s3://bucket/that/is/nowhere?endpoint_override=[")
    for case in (changed, gone, replace(record, data_path=None)):
        (source,) = ingested.read(case, out)
        assert source.reasons is None
        assert any("store is gone" in text for text in data_items.describe_missing(source))


def test_a_run_without_a_finished_cell_has_a_pack(tmp_path):
    out = write_run(tmp_path, [E2E])
    folder = pack.write(write_without_charts(out).contents, out)
    items = items_of(folder)
    assert [items[number]["status"] for number in ("20b", "23a")] == [OPEN, OPEN]
    assert "No cell of the run is finished" in (folder / "model_card.md").read_text()


def test_a_run_with_missing_cells_does_not_claim_all_numbers(clip_report):
    folder = pack.write(clip_report.contents, clip_report.out)
    assert items_of(folder)["21"]["status"] == PARTLY
    assert "The run is not finished: 1 cell is missing." in (folder / "model_card.md").read_text()


@pytest.mark.parametrize(
    ("command", "portable"),
    [
        ("lus run biomarkers --smoke", "lus run biomarkers --smoke"),
        ("lus run a --data /x/jane --set arm.recipe.epochs=3", "lus run a --data STORE --set "
         "arm.recipe.epochs=3"),
        ("lus run a --data=s3://b/jane && lus run a --out ../jane --arms 'SVM*,e2e x'",
         "lus run a --data=STORE && lus run a --out RUN --arms 'SVM*,e2e x'"),
        ("lus run /x/jane/own.py --over /x/jane /x/y", "lus run own.py --over STORE …"),
        ("lus run 'C:\\jane\\own.py'", "lus run own.py"),
        ("lus run a --data '/x/jane", ""),
    ],
)  # fmt: skip
def test_commands_name_no_place(command, portable):
    assert privacy.portable_command(command) == portable


@pytest.mark.slow
def test_the_command_writes_the_pack(tmp_path):
    out = write_run(tmp_path, [E2E])
    done = CliRunner().invoke(cli.main, ["report", str(out), "--pack"])
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == f"pack: {out / pack.FOLDER}"
    assert len(list((out / pack.FOLDER).iterdir())) == 6


def test_a_pack_describes_one_run(tmp_path):
    refused = CliRunner().invoke(cli.main, ["report", str(tmp_path), str(tmp_path), "--pack"])
    assert refused.exit_code == 2
    assert "--pack: describes one run" in refused.output


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """The pack of a run on phantoms with an evaluation on the patients of a hospital."""
    run, made = write_external(
        tmp_path_factory.mktemp("validated"), num_clips=4, entries=(PRIOR, NET)
    )
    (run / "evaluations").mkdir()
    out = made.rename(run / "evaluations" / "hospital")
    record = json.loads((out / "experiment.json").read_text())
    left_out = [{"patient": "hospital/p99", "num_clips": 3, "reason": "a patient of the run"}]
    about = {"run": str(run), "fingerprint": "f" * 64, "store": "/x/hospital", "num_clips": 93}
    record["data"]["sources"] = {"hospital": {}}
    record["evaluation_of"] = {**about, "left_out": left_out}
    (out / "experiment.json").write_text(json.dumps(record))
    write_without_charts(out)
    return pack.write(write_without_charts(run).contents, run)


def test_an_external_evaluation_answers_its_items(validated):
    items = items_of(validated)
    for number, text in {
        "1": "external evaluation",
        "5a": "External evaluation “hospital”",
        "12f": "One temperature for each model",
        "16": "may be patients of the run: 1 patient.",
        "20a": "“hospital”: 93 clips compared",
        "23a": "“hospital”, “net” by sex, AUC: female",
        "24": "before temperature scaling",
    }.items():
        assert text in " ".join(items[number]["found"]), number
    real = [number for number in ("5b", "6a", "6c", "8b", "8c", "9c", "11", "17", "20a")
            if items[number]["status"] == FILLED]  # fmt: skip
    assert real == []
    for text in read_texts(validated).values():
        assert not [patient for patient in EXTERNAL if patient in text]
        assert "p99" not in text


def test_a_damaged_evaluation_is_left_out_and_an_evaluation_has_no_pack(validated):
    run = validated.parent
    broken = run / "evaluations" / "broken"
    broken.mkdir()
    (broken / "report.json").write_text("{")
    assert [own.name for own in evaluations.read(run)] == ["hospital"]
    contents = write_without_charts(run / "evaluations" / "hospital").contents
    with pytest.raises(InputError, match="is an evaluation"):
        pack.write(contents, run / "evaluations" / "hospital")
