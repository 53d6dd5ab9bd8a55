"""Commands take a store as a folder or as a URI, and refuse a bad one in one line."""

import pytest
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.data import store
from lus_ray.storage import paths


def lus(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def test_the_command_makes_and_checks_a_store_in_a_bucket(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = bucket.uri("clips")
    ingested = lus("ingest", "phantom", f"{uri}/", "--patients", 3, "--clips", 1, "--frames", 2,
                   "--size", 64, "--workers", 1)  # fmt: skip
    assert ingested.exit_code == 0, ingested.output
    assert store.read_index(uri).num_rows == 3
    checked = lus("check", uri)
    assert checked.exit_code == 0, checked.output
    assert "3 clips, 6 frames" in checked.output
    assert "contact sheet: check-clips.html" in checked.output
    assert [path.name for path in tmp_path.iterdir()] == ["check-clips.html"]
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
    ("words", "message"),
    [
        (["check", "s3://{}/nothing"], "no clips here; make a store with 'lus ingest"),
        (["check", "s3://key:secret@lung/x"], "a URI may hold no keys"),
        (["check", "cloud://lung/x"], "cloud://lung/x: no storage that can be opened"),
        (["run", "biomarkers", "--data", "s3://key:secret@lung/x"], "a URI may hold no keys"),
        (["ingest", "folder", "s3://{}/raw", "clips"], "fetch it first"),
    ],
)
def test_a_bad_store_is_one_line_and_exit_code_2(bucket, words, message):
    done = lus(*(word.format(bucket.name) for word in words))
    assert done.exit_code == 2
    assert message in done.output
    assert "secret" not in done.output
    assert len(done.output.splitlines()) == 1
