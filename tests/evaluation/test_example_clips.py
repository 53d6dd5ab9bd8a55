from tests.evaluation.frame_run import FRAMES, LEAKY, write_frame_cell
from tests.evaluation.run_folders import compute, write_run


def test_two_clips_of_each_true_score_and_of_different_patients_are_chosen(frame_run, mask_run):
    assert mask_run.contents.clips == ()
    clips = frame_run.contents.clips
    assert [clip.severity for clip in clips] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(a.patient != b.patient for a, b in zip(clips[::2], clips[1::2], strict=True))
    assert {(clip.arm, clip.fold) for clip in clips} == {("frames", 0)}
    assert list(clips[0].scores) == ["max-argmax", "uninorm"]


def test_correct_predictions_do_not_choose_the_clips(tmp_path):
    chosen = []
    for skill in (5.0, 0.2):
        write_frame_cell(write_run(tmp_path, [FRAMES]), FRAMES, 0, skill=skill)
        chosen.append([clip.clip for clip in compute(tmp_path).contents.clips])
    assert chosen[0] == chosen[1]


def test_a_leaky_frame_arm_is_chosen_only_where_there_is_no_other(tmp_path):
    write_frame_cell(write_run(tmp_path, [LEAKY]), LEAKY, 1)
    clips = compute(tmp_path).contents.clips
    assert {(clip.arm, clip.fold) for clip in clips} == {(LEAKY["name"], 1)}
