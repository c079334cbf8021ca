import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.data.raw import RawTable
from lockstep.data.timeline import naive, read_timeline, time_splits, windows
from lockstep.errors import DataError
from lockstep.spec import DataSpec


def table(**columns):
    return RawTable(pl.DataFrame(columns), "load.csv", "0")


def hours(count: int, start: int = 0) -> list[str]:
    return [f"2024-01-{1 + (start + h) // 24:02d} {(start + h) % 24:02d}:00:00" for h in range(count)]


def test_rows_are_put_in_order_of_their_time():
    when = hours(48)
    shuffled = np.random.default_rng().permutation(48)
    raw = table(load=[str(float(h)) for h in shuffled], when=[when[h] for h in shuffled])
    timeline, findings = read_timeline(raw, DataSpec())
    np.testing.assert_array_equal(timeline.values[:, 0], np.arange(48))
    np.testing.assert_array_equal(np.diff(timeline.times), np.full(47, 3600))
    assert (timeline.names, timeline.step, timeline.period, timeline.clock) == (("load",), 3600.0, 24, True)
    assert findings == []


@pytest.mark.parametrize(
    ("dates", "period"),
    [
        ([f"2024-{m:02d}-01" for m in range(1, 13)], 12),
        ([f"2024-01-{d:02d}" for d in range(1, 29)], 7),
        ([f"{y}-01-01" for y in range(1990, 2010)], 1),
    ],
)
def test_the_season_follows_from_how_often_rows_come(dates, period):
    timeline, findings = read_timeline(table(when=dates, y=np.arange(len(dates)) * 1.0), DataSpec())
    assert timeline.period == period
    assert findings == []


def test_without_a_time_column_the_order_of_the_rows_is_time():
    timeline, _ = read_timeline(table(y=[3.0, 1.0, 2.0]), DataSpec())
    np.testing.assert_array_equal(timeline.values[:, 0], [3, 1, 2])
    np.testing.assert_array_equal(timeline.times, [0, 1, 2])


def test_gaps_are_filled_with_the_value_before_and_said():
    raw = table(when=hours(5), y=["", "1", "NA", "3", "4"])
    timeline, (finding,) = read_timeline(raw, DataSpec())
    np.testing.assert_array_equal(timeline.values[:, 0], [1, 1, 1, 3, 4])
    assert (finding.code, finding.subject, finding.evidence) == ("gaps-filled", "y", "2 of 5 rows")


def test_a_missing_hour_is_noticed():
    when = hours(48)
    _, (finding,) = read_timeline(table(when=when[:20] + when[21:], y=np.arange(47) * 1.0), DataSpec())
    assert finding.code == "uneven-times"
    assert finding.evidence.startswith("1 of 46")


def test_a_time_that_stands_twice_is_an_error_that_says_how_to_lay_out_several_series():
    with pytest.raises(DataError, match=r"1 time of when in load\.csv stands more.*columns of their own"):
        read_timeline(table(when=[*hours(5), hours(1)[0]], y=np.arange(6) * 1.0), DataSpec())


def test_a_time_that_is_missing_or_no_date_is_named_with_its_row():
    with pytest.raises(DataError, match=r"when of load\.csv is 'soon' in row 3"):
        read_timeline(table(when=[*hours(2), "soon", *hours(2, 3)], y=np.arange(5) * 1.0), DataSpec(time="when"))


def test_a_column_of_words_is_left_out_unless_it_is_asked_for():
    raw = table(when=hours(4), y=[1.0, 2.0, 3.0, 4.0], place=["a", "b", "a", "b"])
    assert read_timeline(raw, DataSpec())[0].names == ("y",)
    with pytest.raises(DataError, match=r"place of load\.csv holds words"):
        read_timeline(raw, DataSpec(), ("place",))


@given(rows=st.integers(2, 60), context=st.integers(1, 20), horizon=st.integers(1, 20), channels=st.integers(1, 3))
def test_a_window_is_followed_by_what_it_forecasts(rows, context, horizon, channels):
    values = np.arange(rows * channels, dtype=np.float32).reshape(rows, channels)
    cut = windows(values, context, horizon)
    assert len(cut) == max(0, rows - context - horizon + 1)
    for n in range(len(cut)):
        np.testing.assert_array_equal(cut.inputs[0][n], values[n : n + context].T)
        np.testing.assert_array_equal(cut.target[n], values[n + context : n + context + horizon].T)


def test_windows_take_no_memory_of_their_own():
    values = np.zeros((1000, 2), dtype=np.float32)
    cut = windows(values, 100, 10)
    assert np.shares_memory(cut.inputs[0], values)
    assert np.shares_memory(cut.target, values)


@given(
    rows=st.integers(200, 600), context=st.integers(1, 12), horizon=st.integers(1, 6), folds=st.integers(1, 4),
    sizes=st.tuples(st.floats(0.15, 0.3), st.floats(0.15, 0.3)),
)  # fmt: skip
def test_no_part_forecasts_a_row_of_another_and_each_comes_after_the_one_before(rows, context, horizon, folds, sizes):
    splits = time_splits(
        rows, context, horizon, folds=folds, valid_size=sizes[0], test_size=sizes[1], parts=()
    )  # fmt: skip

    def forecast(part):
        return set((part[:, None] + context + np.arange(horizon)).ravel().tolist())

    for fold in splits.folds:
        assert max(forecast(fold.train)) < min(forecast(fold.valid))
        assert max(forecast(fold.valid)) < min(forecast(splits.test))
        assert fold.train.max() + context + horizon <= rows
    assert max(forecast(splits.test)) == rows - 1


def test_the_usual_parts_of_ett_give_its_usual_windows():
    splits = time_splits(17_420, 336, 96, folds=1, valid_size=0.2, test_size=0.2, parts=(8640, 2880, 2880))
    assert (len(splits.folds[0].train), len(splits.folds[0].valid), len(splits.test)) == (8209, 2785, 2785)


def test_a_part_too_short_for_one_window_is_an_error_with_the_sizes():
    with pytest.raises(DataError, match=r"window of 50 rows and the 30 to forecast.*Lower data\.horizon"):
        time_splits(100, 50, 30, folds=1, valid_size=0.2, test_size=0.2, parts=())


def test_the_naive_forecast_repeats_the_last_value_or_the_last_season():
    window = np.arange(12.0).reshape(1, 2, 6)
    np.testing.assert_array_equal(naive(window, 4)[0], [[5] * 4, [11] * 4])
    np.testing.assert_array_equal(naive(window, 5, period=3)[0], [[3, 4, 5, 3, 4], [9, 10, 11, 9, 10]])
