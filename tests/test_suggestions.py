"""Near names at the end of a message: what was meant, or the nearest of those that exist."""

import pytest

from lus_ray.suggestions import suggest

KINDS = ("SVM", "RF", "NN", "AB", "DT", "MLP", "MLP-L")
ARMS = [f"{kind} on x, severity" for kind in KINDS]


@pytest.mark.parametrize(
    ("text", "known", "end"),
    [
        ("frame_score", ("frame_scores", "video"), "; did you mean 'frame_scores'?"),
        ("sever", ("severity", "frame_severity"), "; did you mean 'severity' or 'frame_severity'?"),
        ("cats", ("A", "B"), "; known: 'A', 'B'"),
        ("cats", (), ""),
    ],
)
def test_an_unknown_name_is_answered_with_close_or_known_ones(text, known, end):
    assert suggest(text, known) == end


def test_the_nearest_comes_first_and_at_most_five_are_named():
    meant = suggest("svm on x, severty", ARMS)
    assert meant.startswith("; did you mean 'SVM on x, severity', ")
    assert meant.count("'") == 10
    assert suggest("e2e cats", ARMS).startswith("; the nearest of 7 names are '")
