import polars as pl

from lockstep.jobs.model import best_candidate

NAN = float("nan")


def history(losses: dict[tuple[int, int], list[float]]) -> pl.DataFrame:
    rows = [(c, m, loss) for (c, m), own in losses.items() for loss in own]
    return pl.DataFrame(rows, schema=["candidate", "member", "valid_loss"], orient="row")


def test_the_best_candidate_has_the_lowest_mean_of_its_members_best_losses():
    assert (
        best_candidate(history({(0, 0): [0.5, 0.4], (0, 1): [0.6, 0.9], (1, 2): [0.2, 0.3], (1, 3): [0.7, 0.7]})) == 1
    )


def test_a_candidate_with_a_failed_member_comes_after_those_without():
    assert best_candidate(history({(0, 0): [0.5], (0, 1): [0.6], (1, 2): [0.1], (1, 3): [NAN]})) == 0


def test_without_validation_rows_the_first_candidate_is_taken():
    assert best_candidate(history({(1, 2): [NAN], (0, 0): [NAN]})) == 0
