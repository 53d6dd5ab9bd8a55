import time
from functools import partial

from lus_ray.cli import progress
from lus_ray.monitoring.phase_log import PhaseLog


def test_clips_are_counted_in_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PhaseLog", partial(PhaseLog, silence_s=0.05))
    with progress.show_clip_progress() as show:
        show(1, 3, 10)
        time.sleep(0.2)
    assert "still at work: 1 of 3 clips, 10 frames\n" in capsys.readouterr().err
