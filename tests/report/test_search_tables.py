"""The tables of searches: what was tried, what won, and the arm unchanged beside it."""

from lus_ray.report import search_tables
from lus_ray.runs.search_result import SampleResult, SearchResult


def sample(number, score, *, fold=None, state="finished", chosen=False, **settings):
    return SampleResult(
        number=number, fold=fold, settings=settings, state=state, scores={0: score}, score=score,
        is_chosen=chosen,
    )  # fmt: skip


def search(*samples, again=False):
    space = {"lr": "0.001 to 1, logarithmic", "l2": "0 to 1"}
    unchanged = {"lr": 0.01, "l2": None}
    return SearchResult(
        arm="a", space=space, unchanged=unchanged, trained_again=again, samples=samples
    )


SHARED = search(
    sample(0, 0.5), sample(1, 0.75, chosen=True, lr=0.1), sample(2, None, state="pruned", lr=0.9)
)
BY_FOLD = search(
    sample(0, 0.5, fold=0, chosen=True),
    sample(1, 0.25, fold=0, lr=0.2),
    sample(0, 0.5, fold=1),
    sample(1, 0.75, fold=1, chosen=True, lr=0.2),
    again=True,
)


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_the_winner_stands_beside_the_unchanged_arm_for_every_search():
    table = search_tables.winner_table([SHARED, BY_FOLD])
    assert texts(table) == [
        ["a", "3", "50.0", "75.0", "lr 0.1"],
        ["a", "2", "50.0", "50.0", "unchanged"],
        ["a", "2", "50.0", "75.0", "lr 0.2"],
    ]
    assert [row[0].remarks for row in table.rows] == [
        ("all folds",), ("fold 0", "trained again"), ("fold 1", "trained again"),
    ]  # fmt: skip
    assert table.rows[0][1].remarks == ("1 pruned",)


def test_every_hyperparameter_has_its_range_and_both_values():
    ranges = ["0.001 to 1, logarithmic", "0 to 1"]
    assert texts(search_tables.value_table([SHARED, BY_FOLD])) == [
        ["a", "lr", ranges[0], "0.01", "0.1"],
        ["a", "l2", ranges[1], "of the library", "of the library"],
        ["a", "lr", ranges[0], "0.01", "0.01; 0.2"],
        ["a", "l2", ranges[1], "of the library", "of the library"],
    ]


def test_every_sample_has_its_values_score_and_state():
    assert texts(search_tables.sample_table([SHARED])) == [
        ["a", "0", "50.0", "finished", "unchanged"],
        ["a", "1", "75.0", "chosen", "lr 0.1"],
        ["a", "2", "–", "pruned", "lr 0.9"],
    ]


def test_a_report_without_searches_has_no_section_of_them():
    assert not list(search_tables.section([]))
    (section,) = search_tables.section([SHARED, BY_FOLD])
    assert section.blocks[0].text.startswith("2 of 3 searches chose other values")
