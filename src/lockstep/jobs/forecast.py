"""A table whose rows follow one another in time, from reading to what its forecasts are worth."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data import Raw, RawTable, Schema
from lockstep.data.columns import measured as measured_column
from lockstep.data.schema import Column, Forecast
from lockstep.data.timeline import Timeline, first_dates, naive, read_timeline, time_splits, windows, without_offsets
from lockstep.errors import DataError, SpecError
from lockstep.evaluation import headline, score
from lockstep.jobs.model import Floats
from lockstep.jobs.prepared import Alike, Judged, Prepared, Rows
from lockstep.spec import FitSpec

SHOWN = 3  # windows of each column that the report draws
SCALE = "each column in units of its spread while training"


def wanted_columns(raw: RawTable, target: str | None) -> tuple[str, ...]:
    """The columns to forecast: ``--target`` names one, or several with commas between; () is all that hold numbers."""
    if target is None or target in raw.frame.columns:
        return (target,) if target else ()
    return tuple(part.strip() for part in target.split(",") if part.strip())


def usual_context(horizon: int, rows: int) -> int:
    """Three and a half times what is forecast (336 for 96 in Nie et al. 2023), at most a quarter of the rows."""
    return max(2, min(round(3.5 * horizon), rows // 4))


def forecast_column(name: str, values: NDArray[np.float64]) -> Column:
    """A column with its statistics over ``values`` ``[T]``, and the offset that keeps float32 exact enough."""
    column = measured_column(pl.Series(values), {"name": name, "kind": "number"})
    if column.kind == "constant":
        level = float(values[0])
        return Column(name=name, kind="number", distinct=1, low=level, high=level, mean=level, std=1.0, offset=level)
    return column.model_copy(update={"scale": 1.0, "std": column.std or 1.0})


def forecast_schema(timeline: Timeline, time: str | None, horizon: int, context: int, train: Rows) -> Schema:
    """What the table holds, with each column's statistics over the rows that the first fold trains on."""
    seen = timeline.values[: int(train.max()) + context + horizon]
    columns = tuple(forecast_column(name, own) for name, own in zip(timeline.names, seen.T, strict=True))
    return Schema(
        kind="forecast", task="forecast", target=", ".join(timeline.names), columns=columns, rows=len(timeline),
        forecast=Forecast(
            time=time, horizon=horizon, context=context, step=timeline.step, period=timeline.period,
            clock=timeline.clock,
        ),
    )  # fmt: skip


def check_own_table(*others: Any) -> None:
    """Other rows have no place in a forecast. Raises ``SpecError``."""
    if any(other is not None for other in others):
        raise SpecError(
            "A forecast is judged on the last rows of its own table, however valid, test or data.group is set. Unset "
            "it; data.parts=TRAIN,VALID,TEST says how many rows each part has."
        )


def prepare_forecast(raw: Raw, spec: FitSpec) -> Prepared:
    """The windows of ``raw``, split by time. Raises ``DataError`` and ``SpecError``."""
    data = spec.data
    assert data.horizon is not None
    check_own_table(data.valid, data.test, data.group)
    if data.parts and spec.population.folds > 1:
        raise SpecError(
            "data.parts are one split and folds are several, however both are asked for: "
            f"folds={spec.population.folds}. Leave one of them out."
        )
    if not isinstance(raw, RawTable):
        raise DataError(f"A forecast (data.horizon) needs a table, however {raw.origin} is none. Unset data.horizon.")
    spec = spec.replace("data.time", data.time or first_dates(raw.frame, data))
    timeline, findings = read_timeline(raw, spec.data, wanted_columns(raw, data.target))
    context = data.context or usual_context(data.horizon, len(timeline))
    splits = time_splits(
        len(timeline), context, data.horizon, folds=spec.population.folds, valid_size=spec.population.valid_size,
        test_size=data.test_size, parts=data.parts or (),
    )  # fmt: skip
    schema = forecast_schema(timeline, spec.data.time, data.horizon, context, splits.folds[0].train)
    encoded = windows(without_offsets(timeline.values, schema), context, data.horizon)
    spec = spec.replace("data.target", ",".join(timeline.names)).replace("data.context", context)
    return Prepared(spec, schema, (raw,), encoded, splits, blocks(schema, len(encoded)), tuple(findings))


def blocks(schema: Schema, count: int) -> Alike:
    """The block of time that each of ``count`` windows is in: neighbours share rows."""
    assert schema.forecast is not None
    return Alike(np.arange(count) // schema.forecast.horizon, "blocks of as many windows as rows ahead")


def offsets(schema: Schema) -> Floats:
    """What was taken off each column in float64 before float32 saw it, ``[C, 1]``; put back for a reader."""
    return np.array([[column.offset] for column in schema.columns], dtype=np.float64)


def in_units(schema: Schema, values: NDArray[Any]) -> Floats:
    """Values ``[…, C, H]`` (less the offsets) in units in which columns can be averaged: each less its training mean,
    over its spread."""
    centre = np.array([[column.mean] for column in schema.columns], dtype=np.float64) - offsets(schema)
    spread = np.array([[column.std] for column in schema.columns], dtype=np.float64)
    return np.asarray((values - centre) / spread)


def baselines(schema: Schema, inputs: NDArray[Any]) -> dict[str, Floats]:
    """What knowing nothing but the last values forecasts: the last value repeated, the last season repeated."""
    forecast = schema.forecast
    assert forecast is not None
    simple = {"the last value, repeated": naive(inputs, forecast.horizon)}
    if 1 < forecast.period <= forecast.context:
        season = naive(inputs, forecast.horizon, forecast.period)
        simple[f"the season before: the last {forecast.period} values, repeated"] = season
    return simple


def best_baseline(
    schema: Schema, inputs: NDArray[Any], target: NDArray[Any], quantile: float | None = None
) -> dict[str, Any]:
    """The better of the naive forecasts, and its scores."""
    truth = in_units(schema, target)
    simple = {
        what: score("forecast", truth, in_units(schema, forecast), quantile)
        for what, forecast in baselines(schema, inputs).items()
    }
    best = min(simple, key=lambda what: simple[what][headline("forecast", quantile)])
    return {"what": best, "metrics": simple[best]}


def analysis(prepared: Prepared, judged: Judged) -> dict[str, Any]:
    """The content of ``analysis.json``: the error by how far ahead and by column, and some windows as they went on."""
    schema = prepared.schema
    (inputs,), target = prepared.inputs(judged.rows), prepared.target[judged.rows]
    truth = in_units(schema, target)
    told = {"network": judged.prediction} | baselines(schema, inputs)
    squares = {what: np.square(in_units(schema, forecast) - truth) for what, forecast in told.items()}
    shown = np.unique(np.linspace(0, len(judged.rows) - 1, SHOWN).astype(int))
    back = min(inputs.shape[-1], 2 * target.shape[-1])
    return {
        "rows": judged.kind,
        "forecast": {
            "steps": [
                {"what": what, "step": step + 1, "mse": float(error)}
                for what, square in squares.items()
                for step, error in enumerate(square.mean(axis=(0, 1)))
            ],
            "columns": [
                {"what": what, "column": column.name, "mse": float(error)}
                for what, square in squares.items()
                for column, error in zip(schema.columns, square.mean(axis=(0, 2)), strict=True)
            ],
            "examples": [
                {
                    "column": column.name,
                    "before": (inputs[n, c, -back:] + column.offset).tolist(),
                    "actual": (target[n, c] + column.offset).tolist(),
                    "forecast": (judged.prediction[n, c] + column.offset).tolist(),
                }
                for c, column in enumerate(schema.columns)
                for n in shown
            ],
        },
    }
