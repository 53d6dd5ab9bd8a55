import pytest
from click.testing import CliRunner

from lus_ray.cli import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.mp4"], "none.mp4: is neither a file nor a folder"),
        (
            ["note.txt"],
            "a text file is neither a video nor an image in a supported format; give MP4",
        ),
        (["folder", "--out", "p.csv"], "folder: holds no image and no video"),
        (["note.txt", "--out", "p.xlsx"], "name a file that ends in .csv or .parquet"),
        (["note.txt", "--out", "p.csv", "--url", "http://h:1"], "--out is for predictions without"),
        (["note.txt", "--token", "x"], "--token is not for predictions without --url; remove it"),
        (["note.txt", "--run", "r", "--url", "http://h:1"], "--run is for predictions without"),
        (["note.txt", "note.txt", "--url", "http://h:1"], "--url predicts one file"),
        (["folder", "--url", "http://h:1"], "--url predicts one file"),
        (["note.txt", "--out", "p.csv", "--json"], "--json prints the rows that --out writes"),
        (["note.txt", "--address", "h:1", "--run", "none"], "none/experiment.json: no such file"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "note.txt").write_text("no clip")
    result = CliRunner().invoke(main, ["predict", *words])
    assert result.exit_code == 2, result.output
    assert message in result.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("p.csv*"))
