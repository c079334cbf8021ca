"""The history of a run, made small enough for a page: thinned members, means and spreads, norms per layer."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from lockstep.report.format import label, rounded

POINTS = 6_000  # in one chart; beyond this a reader sees no more and the page grows slow
LINES = 100  # thin lines in one chart
SERIES = ("train_loss", "valid_loss", "valid_metric", "grad_norm")

Columns = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """History as the charts want it, each table by column.

    ``members``: member, who (its label), candidate (label), epoch and the series, thinned.
    ``mean``: candidate, epoch, networks (how many trained), and per series its mean, low and high (one standard
    deviation to each side, within what was seen), only where every member of the candidate still trains: past that, a
    mean would move because members leave, not because they learn.
    ``best``: one row per member, at its best epoch.
    ``drawn`` members of ``total`` are in ``members``.
    """

    members: Columns
    mean: Columns
    best: Columns
    metric: str
    drawn: int
    total: int
    thinned: bool
    epochs: int


def by_column(frame: pl.DataFrame) -> Columns:
    """The frame by column, floats to five significant digits, NaN and infinities as None."""
    return {
        name: [rounded(v) for v in frame[name].to_list()] if frame[name].dtype.is_float() else frame[name].to_list()
        for name in frame.columns
    }


def prepare(history: pl.DataFrame, labels: dict[int, tuple[str, str]], best_epochs: dict[int, int]) -> Curves:
    """The curves of a history; ``labels`` gives (who, candidate) per member, ``best_epochs`` its best epoch.

    Members of several losses may have been watched by several metrics; no axis has room for both, and none is drawn.
    """
    if "metric" in history.columns and history["metric"].n_unique() > 1:
        history = history.drop("metric", "valid_metric")
    members = history["member"].unique().sort().to_list()
    who = {m: labels.get(m, (f"network {m}", ""))[0] for m in members}
    candidate = {m: labels.get(m, ("", "all"))[1] for m in members}
    missing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in SERIES if name not in history.columns]
    frame = history.with_columns(
        *missing,
        pl.col("member").replace_strict(who, return_dtype=pl.String).alias("who"),
        pl.col("member").replace_strict(candidate, return_dtype=pl.String).alias("candidate"),
    ).select("member", "who", "candidate", "epoch", *(pl.col(name).cast(pl.Float64) for name in SERIES))
    frame = frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in SERIES)
    best = pl.DataFrame(
        {"member": list(best_epochs), "epoch": list(best_epochs.values())},
        schema={"member": frame["member"].dtype, "epoch": frame["epoch"].dtype},
    )
    shown = _some(members, LINES)
    lines = frame.filter(pl.col("member").is_in(shown))
    thin = _thin(lines, max(12, POINTS // max(1, len(shown))))
    return Curves(
        members=by_column(thin),
        mean=by_column(_means(frame)),
        best=by_column(frame.join(best, on=["member", "epoch"], how="inner").sort("member")),
        metric=str(history["metric"][0]) if "metric" in history.columns and history.height else "",
        drawn=len(shown),
        total=len(members),
        thinned=thin.height < lines.height,
        epochs=_last(history),
    )


def _last(history: pl.DataFrame) -> int:
    return int(history.get_column("epoch").to_numpy().max())


def _some(items: list[int], most: int) -> list[int]:
    """At most ``most`` of the items, evenly spaced, first and last included."""
    if len(items) <= most:
        return items
    step = (len(items) - 1) / (most - 1)
    return [items[round(i * step)] for i in range(most)]


def _thin(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most about ``most`` epochs, the same for every member; the first ten stay, where curves bend most."""
    epochs = frame["epoch"].unique().sort().to_list()
    if len(epochs) <= most:
        return frame
    head = min(10, most // 2)
    keep = set(epochs[:head]) | set(_some(epochs[head:], most - head))
    last = pl.col("epoch") == pl.col("epoch").max().over("member")
    return frame.filter(pl.col("epoch").is_in(sorted(keep)) | last)


def _means(frame: pl.DataFrame) -> pl.DataFrame:
    alive = frame.filter(pl.col("train_loss").is_not_null().last().over("member"))
    total = pl.col("member").n_unique().over("candidate")
    statistics = [
        expression
        for name in SERIES
        for expression in (
            pl.col(name).mean().alias(name),
            pl.max_horizontal(pl.col(name).mean() - pl.col(name).std(), pl.col(name).min()).alias(f"{name}_low"),
            pl.min_horizontal(pl.col(name).mean() + pl.col(name).std(), pl.col(name).max()).alias(f"{name}_high"),
        )
    ]
    means = (
        alive.with_columns(total.alias("total"))
        .group_by("candidate", "epoch")
        .agg(pl.len().alias("networks"), pl.col("total").first(), *statistics)
        .filter(pl.col("networks") == pl.col("total"))
        .drop("total")
        .sort("candidate", "epoch")
    )
    return _thin_by_epoch(means)


def _thin_by_epoch(means: pl.DataFrame) -> pl.DataFrame:
    epochs = means["epoch"].unique().sort().to_list()
    return means.filter(pl.col("epoch").is_in(_some(epochs, 500)))


def learning_rates(history: pl.DataFrame, labels: dict[int, tuple[str, str]]) -> Columns | None:
    """The learning rate at the end of each epoch, once per distinct schedule: schedule, epoch, lr. None if unknown."""
    if "lr" not in history.columns:
        return None
    candidate = {m: labels.get(m, ("", "all"))[1] for m in history["member"].unique().to_list()}
    rates = (
        history.with_columns(pl.col("member").replace_strict(candidate, return_dtype=pl.String).alias("schedule"))
        .group_by("schedule", "epoch")
        .agg(pl.col("lr").cast(pl.Float64).mean())
        .sort("schedule", "epoch")
    )
    by_schedule: dict[tuple[float | None, ...], list[str]] = {}
    for (name,), part in rates.group_by("schedule", maintain_order=True):
        by_schedule.setdefault(tuple(rounded(v) for v in part["lr"].to_list()), []).append(str(name))
    rates = rates.filter(pl.col("lr") > 1e-3 * pl.col("lr").max()) if len(by_schedule) > 1 else rates  # a log axis
    if len(by_schedule) == 1:
        name = next(iter(by_schedule.values()))[0]
        return by_column(_thin_by_epoch(rates.filter(pl.col("schedule") == name)))
    return by_column(_thin_by_epoch(rates))


def layer_norms(history: pl.DataFrame) -> tuple[list[str], Columns] | None:
    """Gradient norm per layer: the layers in the network's order, and (layer, epoch, norm, low, high).

    A layer's norm is that of all its parameters together, √Σ‖g‖²; norm is the median over the members that train, low
    and high the smallest and largest of them. None where the history has no norms per parameter.
    """
    names = [name for name in history.columns if name.startswith("grad_norm/")]
    if not names:
        return None
    layers: dict[str, list[str]] = {}
    for name in names:
        parameter = name.removeprefix("grad_norm/")
        layers.setdefault(label(parameter.rpartition(".")[0] or parameter), []).append(name)
    norms = history.select(
        "epoch",
        *(
            pl.sum_horizontal(pl.col(name).cast(pl.Float64) ** 2 for name in of).sqrt().alias(layer)
            for layer, of in layers.items()
            if layer != "epoch"
        ),
    )
    order = norms.columns[1:]
    long = norms.unpivot(index="epoch", variable_name="layer", value_name="norm").filter(pl.col("norm").is_finite())
    table = (
        long.group_by("layer", "epoch")
        .agg(pl.col("norm").median(), pl.col("norm").min().alias("low"), pl.col("norm").max().alias("high"))
        .filter(pl.col("norm") > 0)  # the axis is logarithmic
        .sort("layer", "epoch")
    )
    if table.is_empty():
        return None
    epochs = table["epoch"].unique().sort().to_list()
    kept = _some(epochs, max(12, POINTS // len(order)))
    return order, by_column(table.filter(pl.col("epoch").is_in(kept)))
