"""Paths and URIs; storage failures as one line with a remedy."""

import re
import time

import pytest

from lus_ray.data import store
from lus_ray.errors import InputError, StoreError
from lus_ray.storage import files, paths
from tests.object_storage import free_port, serving
from tests.rights import as_anybody


def test_a_uri_is_parsed_as_text_and_a_path_as_a_path(bucket, tmp_path):
    uri = bucket.uri("a")
    assert paths.parse(f"{uri}/") == uri
    assert paths.parse(str(tmp_path)) == tmp_path


def test_names_are_joined_before_the_query_of_a_uri(bucket, tmp_path):
    uri = bucket.explicit(bucket.uri("a"))
    path, _, query = uri.partition("?")
    file = paths.join(uri, "b", "c.txt")
    assert file == f"{path}/b/c.txt?{query}"
    assert paths.basename(file) == paths.basename(tmp_path / "c.txt") == "c.txt"


def test_a_name_with_spaces_is_percent_encoded_in_a_uri(bucket, tmp_path):
    for path in (bucket.uri("two%20words"), tmp_path / "two words"):
        assert paths.open_filesystem(path)[1].endswith("/two words")


def test_a_bucket_is_opened_once_a_process_and_anew_with_other_settings(bucket, monkeypatch):
    first, _ = paths.open_filesystem(bucket.uri("a"))
    assert paths.open_filesystem(bucket.uri("b"))[0] is first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    assert paths.open_filesystem(bucket.uri("b"))[0] is not first


def test_files_are_listed_by_name_and_folders_are_left_out(bucket, tmp_path):
    for location in (bucket.uri("a"), tmp_path):
        filesystem, path = paths.open_filesystem(location)
        filesystem.create_dir(f"{path}/folder.txt")
        for name in ("b.txt", "a.txt", "c.csv", "folder.txt/d.txt"):
            with filesystem.open_output_stream(f"{path}/{name}") as file:
                file.write(name.encode())
        listed = [paths.join(location, name) for name in ("a.txt", "b.txt")]
        assert paths.list_files(location, ".txt") == listed
        assert paths.file_size(paths.join(location, "c.csv")) == 5


def test_an_unreadable_folder_is_refused_and_not_empty(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir(mode=0)
    message = f"^{clips}: not readable: Permission denied; check permissions$"
    with as_anybody(), pytest.raises(StoreError, match=message):
        store.read_index(tmp_path)


@pytest.mark.parametrize("uri", ["s3://{}/nothing/here", "s3://no-such-bucket/store"])
def test_a_missing_bucket_or_folder_holds_no_clips(bucket, uri):
    with pytest.raises(StoreError, match="no clips here; make a store with 'lus ingest"):
        store.read_index(uri.format(bucket.name))


@pytest.mark.slow
def test_a_storage_that_does_not_answer_fails_within_seconds_in_one_line(bucket):
    uri = f"s3://lung/store?scheme=http&endpoint_override=127.0.0.1:{free_port()}"
    began = time.monotonic()
    message = r"^[^\n]*does not answer; check AWS_ENDPOINT_URL[^\n]*$"
    with pytest.raises(InputError, match=message):
        store.read_index(uri)
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_wrong_key_is_not_allowed_to_read_or_to_write(bucket):
    with serving(INITIAL_NO_AUTH_ACTION_COUNT="1") as closed:
        uri = closed.explicit(closed.uri("store"))
        with pytest.raises(StoreError, match="not allowed; check AWS_ACCESS_KEY_ID"):
            store.read_index(uri)
        with pytest.raises(StoreError, match="not written: not allowed; check AWS_ACCESS"):
            files.write_text(paths.join(uri, "store.json"), "{}")
        with pytest.raises(StoreError, match="not readable: not allowed; check AWS_ACCESS"):
            files.open_parquet(paths.join(uri, "clips", "test-00000.parquet"))


@pytest.mark.parametrize(
    "uri", ["s3://key:secret@lung/store", "s3://key@lung/store", "https://me:secret@host/x"]
)
def test_keys_in_a_uri_are_refused_and_never_printed(uri):
    with pytest.raises(InputError, match=r"^(?!.*(secret|key@)).*AWS_SECRET_ACCESS_KEY"):
        paths.parse(uri)


@pytest.mark.parametrize("uri", ["nowhere://bucket/x", "s3://lung/x?colour=red"])
def test_a_uri_of_no_storage_is_refused_by_name(bucket, uri):
    with pytest.raises(InputError, match=rf"^{re.escape(uri)}: no storage that can be opened"):
        paths.parse(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "gs://"])
def test_a_uri_without_a_bucket_is_refused(uri):
    with pytest.raises(InputError, match=rf"^{uri}: names no bucket; write {uri[:5]}bucket/fold"):
        paths.parse(uri)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("AWS Error ACCESS_DENIED during GetObject operation: Access Denied", "not allowed"),
        ("AWS Error UNKNOWN (HTTP status 403)\nduring HeadObject", "not allowed"),
        ("AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2", "not allowed"),
        ("AWS Error NO_SUCH_BUCKET during PutObject operation", "no such bucket"),
        ("AWS Error NETWORK_CONNECTION during X: curlCode: 7", "does not answer"),
    ],
)
def test_storage_errors_become_remedies(error, message):
    described = paths.describe_error(OSError(error))
    assert message in described
    assert "AWS Error" not in described
