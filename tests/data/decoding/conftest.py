import pytest


@pytest.fixture
def decode(decoder, tmp_path):
    def decode(content, name="still"):
        (tmp_path / name).write_bytes(content)
        return decoder.decode(tmp_path / name)

    return decode
