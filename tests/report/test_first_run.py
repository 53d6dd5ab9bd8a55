from pathlib import Path

from lus_ray.report import first_run


def test_the_demo_says_what_was_made_and_found_and_what_to_do_next(clip_report):
    lines = first_run.render(clip_report.contents, Path("my runs/demo"), seconds=140.4).splitlines()
    assert len(lines) <= 16
    assert all(len(line) <= first_run.WIDTH for line in lines)
    names = [line[: first_run.INDENT].strip() for line in lines]
    assert [name for name in names if name] == [
        "Made", "Severity", "Not tested", "How sure", "Report", "Next",
    ]  # fmt: skip
    text = " ".join(" ".join(lines).split())
    assert "48 synthetic clips of 24 simulated patients" in text
    assert "AUC class prior " in text
    assert "(all of this took 140 s)" in text
    assert "lus serve 'my runs/demo'" in lines[-3]
