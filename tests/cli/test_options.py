"""Where a command takes a store, it takes a folder or a URI, and says in one line what is wrong."""

import json

import pytest
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.data import store
from lus_ray.storage import paths


def lus(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def test_a_store_in_a_bucket_is_made_and_checked_by_the_command(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = bucket.uri("clips")
    made = lus("ingest", "phantom", f"{uri}/", "--patients", 3, "--clips", 1, "--frames", 2,
               "--size", 64, "--workers", 1)  # fmt: skip
    assert made.exit_code == 0, made.output
    assert store.read_index(uri).num_rows == 3
    found = lus("check", uri)
    assert found.exit_code == 0, found.output
    assert "3 clips, 6 frames" in found.output
    assert "contact sheet: check-clips.html" in found.output
    assert [path.name for path in tmp_path.iterdir()] == ["check-clips.html"]


def test_a_damaged_shard_in_a_bucket_makes_check_fail_by_name(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = bucket.uri("clips")
    lus("ingest", "phantom", uri, "--patients", 3, "--clips", 1, "--frames", 2, "--size", 64)
    (shard,) = paths.list_files(paths.join(uri, "clips"))
    filesystem, path = paths.open_filesystem(shard)
    with filesystem.open_input_file(path) as file:
        whole = file.read()
    with filesystem.open_output_stream(path) as file:
        file.write(whole[:-20])
    done = lus("check", uri)
    assert done.exit_code == 2
    assert "none of 1 shards can be read" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "s3://{}/nothing"], "no clips here; make a store with 'lus ingest"),
        (["check", "s3://key:secret@lung/x"], "a URI may hold no keys"),
        (["check", "cloud://lung/x"], "cloud://lung/x: no storage that can be opened"),
        (["run", "biomarkers", "--data", "s3://key:secret@lung/x"], "a URI may hold no keys"),
        (["ingest", "folder", "s3://{}/raw", "clips"], "fetch it first"),
    ],
)
def test_what_is_wrong_with_a_place_is_one_line_and_exit_code_2(bucket, words, said):
    done = lus(*(word.format(bucket.name) for word in words))
    assert done.exit_code == 2
    assert said in done.output
    assert "secret" not in done.output
    assert len(done.output.splitlines()) == 1


def test_a_folder_stays_a_path(tmp_path):
    lus("ingest", "phantom", tmp_path / "s", "--patients", 3, "--clips", 1, "--frames", 2,
        "--size", 64)  # fmt: skip
    found = lus("check", tmp_path / "s", "--json")
    assert json.loads(found.stdout)["num_clips"] == 3
    assert (tmp_path / "s" / "check.html").is_file()
