"""From what the user says to what is trained: data read and understood, a spec with every number filled in, splits."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data import (
    Encoded,
    Raw,
    RawSeries,
    RawTable,
    Splits,
    check_rows,
    cut_rows,
    drop_unlabelled,
    encode,
    find_leaks,
    infer_schema,
    make_splits,
    read,
    reading,
    same_text,
    split_distinct,
    split_keys,
    with_vocabulary,
)
from lockstep.engine.halving import finalists
from lockstep.engine.population import Population, make_population
from lockstep.errors import SpecError
from lockstep.findings import Finding, count_of
from lockstep.jobs.forecast import check_own_table, prepare_forecast
from lockstep.jobs.prepared import Prepared, alike_by
from lockstep.jobs.progress import Display
from lockstep.optim import unfinished
from lockstep.spec import DataSpec, FitSpec, Kind, Task, candidates, parse_assignments, read_settings
from lockstep.spec.axes import Axes, with_axes
from lockstep.spec.choices import own_rates
from lockstep.spec.fit import merge, nest
from lockstep.spec.recipes import find_recipe, usual_recipe

FEW_ROWS = 30


PLACES = {
    "recipe": "recipe", "target": "data.target", "header": "data.header", "test_size": "data.test_size",
    "valid": "data.valid", "test": "data.test", "folds": "population.folds", "seeds": "population.seeds",
    "seed": "population.seed", "members": "population.members", "halve": "population.halve",
    "epochs": "training.epochs",
}  # fmt: skip


def settings_of(
    spec: FitSpec | str | Path | None, assignments: Sequence[str] | Mapping[str, Any], **flags: Any
) -> dict[str, Any]:
    """One nested dictionary of settings: the spec file, over it ``--set``, over that the flags that were given.

    ``valid`` and ``test`` are settings where they are files, so that a stored spec runs again; rows in memory are not.
    """
    match spec:
        case None:
            settings: dict[str, Any] = {}
        case FitSpec():
            settings = spec.model_dump(mode="json")
        case _:
            settings = read_settings(Path(spec))
    given = parse_assignments(list(assignments)) if not isinstance(assignments, Mapping) else dotted(assignments)
    settings = merge(settings, given)
    for name, value in flags.items():
        if name in ("valid", "test"):
            value = str(value) if isinstance(value, str | Path) else None
        elif isinstance(value, Sequence) and not isinstance(value, str):
            value = list(value)
        if value is not None:
            nest(settings, PLACES[name].split("."), value)
    return settings


def dotted(assignments: Mapping[str, Any]) -> dict[str, Any]:
    """``{"optimizer.lr": 0.1}`` and ``{"optimizer": {"lr": 0.1}}`` say the same."""
    settings: dict[str, Any] = {}
    for key, value in assignments.items():
        if isinstance(value, Mapping):
            for inner, item in dotted(value).items():
                nest(settings, [*key.split("."), inner], item)
        else:
            nest(settings, key.split("."), value)
    return settings


def prepare(
    x: Any, y: Any, settings: dict[str, Any], *, valid: Any, test: Any, show: Display, axes: Axes | None = None
) -> Prepared:
    """Read the data, understand it, fill in the spec and split the rows. Raises ``DataError`` and ``SpecError``.

    With ``axes`` the spec must have several candidates.
    """
    wanted = settings.get("data", {})
    if not isinstance(wanted, Mapping):
        raise SpecError(f"data must hold settings by name, however: {wanted!r}. For example: data.target=price.")
    data_spec = DataSpec.parse(dict(wanted))
    show.phase("Reading the data")
    raw = read(x, data_spec, y)
    if data_spec.horizon is None:
        prepared = prepare_rows(raw, data_spec, settings, valid=valid, test=test, show=show, axes=axes)
    else:
        check_own_table(valid, test)
        prepared = prepare_forecast(raw, chosen_spec(settings, axes, "forecast", "forecast", len(raw)))
    for finding in prepared.findings:
        show.finding(finding)
    return prepared


def prepare_rows(
    raw: Raw, data_spec: DataSpec, settings: dict[str, Any], *, valid: Any, test: Any, show: Display, axes: Axes | None
) -> Prepared:
    """What was read, understood row by row; what was noticed is among what is returned."""
    check_target(raw, data_spec)
    own_test = raw.test if "test_size" not in settings.get("data", {}) else None
    schema, findings = infer_schema(raw, data_spec)
    if schema.target in data_spec.drop:
        raise SpecError(
            f"The target must be kept, however data.drop names it: {schema.target}. Take it out of data.drop."
        )
    raw = drop_unlabelled(raw, schema)
    spec = chosen_spec(settings, axes, schema.kind, schema.task, schema.rows).replace("data.target", schema.target)

    show.phase("Checking the data")
    encoded = encode(raw, schema, with_target=True)
    kept, leaks = find_leaks(raw, schema, encoded, spec.data.keep)
    if kept != schema:  # a column was set aside
        schema, encoded = kept, encode(raw, kept, with_target=True)
    valid, test = given_or_named(valid, spec.data.valid), given_or_named(test, spec.data.test)
    if valid is not None:
        spec = one_fold(spec, settings)
    like = reading(spec.data, schema)
    extra = {
        "valid": None if valid is None else read(valid, like),
        "test": own_test if test is None else read(test, like),
    }
    others = {name: drop_unlabelled(other, schema) for name, other in extra.items() if other is not None}
    encoded = joined([encoded, *(encode(other, schema, with_target=True) for other in others.values())])
    sources = {"data": raw} | others
    assert encoded.target is not None
    ends = np.cumsum([len(source) for source in sources.values()])
    rows = {name: np.arange(end - len(sources[name]), end) for name, end in zip(sources, ends, strict=True)}
    groups, times = keys_of(sources.values(), spec.data)
    content = same_text(encoded.inputs[0]) if schema.kind == "text" else None
    free = groups is None and times is None
    split = partial(split_distinct, content=content) if content is not None and free else make_splits
    splits = split(
        encoded.target, schema.task, folds=spec.population.folds, valid_size=spec.population.valid_size,
        test_size=spec.data.test_size, seed=spec.population.seed, groups=groups, times=times,
        valid_rows=rows.get("valid"), test_rows=rows.get("test"),
    )  # fmt: skip
    # Unknown words look alike as tokens, so texts are compared as they are written.
    compared = encoded if content is None else Encoded((content[:, None],), encoded.target)
    if schema.kind == "text":
        seen = np.unique(np.concatenate([part for fold in splits.folds for part in (fold.train, fold.valid)]))
        schema, encoded, learned = with_vocabulary(schema, encoded, seen, spec.preprocess)
        findings += learned
    population = make_population(spec, [(fold.train, fold.valid) for fold in splits.folds])
    findings += [finding for other in others.values() for finding in other.findings]
    findings += [finding for source in sources.values() for finding in cut_rows(source, schema)]
    findings += [*few_test_rows(splits), *long_schedules(population), *not_halved(population), *own_rates(spec)]
    found = (*findings, *leaks, *check_rows(compared, splits, schema), *check_groups(groups, splits, spec.data.group))
    return Prepared(spec, schema, tuple(sources.values()), encoded, splits, alike_by(groups, content), found)


def check_target(raw: Raw, spec: DataSpec) -> None:
    """A target names a column. Raises ``SpecError`` where there are none."""
    if spec.target is not None and not isinstance(raw, RawTable):
        kind = "series" if isinstance(raw, RawSeries) else "images"
        raise SpecError(
            f"data.target names a column of a table, however: {spec.target}, and {raw.origin} holds {kind}, which "
            "bring their labels along. Leave --target out."
        )


def chosen_spec(settings: dict[str, Any], axes: Axes | None, kind: Kind, task: Task, rows: int) -> FitSpec:
    """The recipe's spec for such data, with the user's settings and axes."""
    recipe = find_recipe(str(settings.get("recipe") or usual_recipe(kind)))
    spec = filled(recipe.make(kind, task, rows), settings, axes)
    check_ensemble(spec, task)
    return spec


def filled(spec: FitSpec, settings: dict[str, Any], axes: Axes | None) -> FitSpec:
    """The recipe's ``spec`` with the user's settings and axes."""
    spec = spec.override(settings)
    if axes is None:
        return spec
    spec = with_axes(spec, axes, settings)
    if next(spec.axes(), None) is None or len(candidates(spec)) < 2:
        raise SpecError(
            "compare needs two candidates at least, however: 1. Give settings several values: --vary "
            "activation=relu,gelu."
        )
    return spec


def check_ensemble(spec: FitSpec, task: Task) -> None:
    """A combination needs several models. Raises ``SpecError``."""
    method = spec.ensemble.method
    models = finalists(len(candidates(spec)), spec.population.halve) * spec.population.seeds
    if method == "mean":
        return
    if task == "forecast":
        raise SpecError(f"Forecasts are averaged, however: ensemble.method={method}. Unset it.")
    if models < 2:
        raise SpecError(
            f"ensemble.method={method} combines candidates and seeds, a network per fold each, however there is one of "
            f"each{' at the end' if spec.population.halve else ''}. Give --seeds 5, or "
            f"{'leave halve out' if spec.population.halve else 'vary something'}."
        )


def given_or_named(given: Any, named: str | None) -> Any:
    return named if given is None else given


def one_fold(spec: FitSpec, settings: Mapping[str, Any]) -> FitSpec:
    """The spec of a run whose validation rows are given: there is nothing to fold."""
    folds = settings.get("population", {}).get("folds", 1)
    if folds != 1:
        raise SpecError(
            f"Validation rows are given or made by folds, however both are asked for: valid and folds={folds}. "
            "Leave one of them out."
        )
    return spec.replace("population.folds", 1)


def check_groups(groups: NDArray[np.int64] | None, splits: Splits, name: str | None) -> list[Finding]:
    """Groups that stand on both sides of a split: only the user's own files can do that."""
    if groups is None:
        return []
    trained = np.unique(np.concatenate([groups[fold.train] for fold in splits.folds]))
    sides = {"test": splits.test} | ({"validation": splits.folds[0].valid} if len(splits.folds) == 1 else {})
    shared = {side: np.intersect1d(groups[rows], trained) for side, rows in sides.items()}
    return [
        Finding(
            severity="severe", code=f"groups-{side}", subject=f"{side} rows",
            what=f"Groups of {name} stand among the {side} rows and the rows that are trained on.",
            evidence=f"{count_of(len(both), 'group is', 'groups are')} on both sides",
            remedy=f"Leave these groups out of one of the files; the score on {side} rows flatters until then.",
        )
        for side, both in shared.items()
        if len(both)
    ]  # fmt: skip


def long_schedules(population: Population) -> list[Finding]:
    """The schedules that the run will not finish: their rates never get to where they were meant to go."""
    runs = {(m.spec.schedule, m.spec.training.epochs, m.steps): m.spec.schedule.name for m in population.training}
    unmet = dict.fromkeys((name, unfinished(*run)) for run, name in runs.items())
    return [
        Finding(
            severity="warning", code="schedule-unfinished", subject=f"schedule {name}",
            what="The learning-rate schedule is longer than the run.", evidence=evidence,
            remedy="Shorten it, or train longer: --epochs.",
        )
        for name, evidence in unmet
        if evidence
    ]  # fmt: skip


def not_halved(population: Population) -> list[Finding]:
    """Who goes on depends on all candidates, and so cannot be told for some members alone."""
    spec = population.members[0].spec.population
    if spec.halve is None or population.rungs:
        return []
    return [
        Finding(
            severity="info", code="not-halved", subject="population.halve",
            what="The chosen members train to the end, whether or not their candidates would go on among all.",
            evidence=f"halve={spec.halve}, members={','.join(map(str, spec.members or ()))}",
            remedy="Leave members out to halve.",
        )
    ]  # fmt: skip


def few_test_rows(splits: Splits) -> list[Finding]:
    """A score on a handful of rows says little, and its bootstrap interval does not know how little."""
    count = len(splits.test)
    if count == 0 or count >= FEW_ROWS:
        return []
    return [
        Finding(
            severity="warning", code="few-test-rows", subject="test rows",
            what=f"The score on the test rows rests on {count} row{'s' if count > 1 else ''} only.",
            evidence=f"Under {FEW_ROWS} rows even the intervals are rough, and may be far too narrow.",
            remedy="Judge by the out-of-fold score of all rows instead: --test-size 0.",
        )
    ]  # fmt: skip


def joined(parts: Sequence[Encoded]) -> Encoded:
    """The rows of several sources, one after another."""
    inputs = tuple(np.concatenate(columns) for columns in zip(*(part.inputs for part in parts), strict=True))
    return Encoded(inputs, np.concatenate([part.target for part in parts if part.target is not None]))


def keys_of(sources: Iterable[Raw], spec: DataSpec) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """The group and the time of each row over all sources, where the spec names a column for them."""
    groups, times = zip(*(split_keys(source, spec) for source in sources), strict=True)
    return (
        group_codes(np.concatenate(groups)) if spec.group is not None else None,
        np.concatenate(times) if spec.time is not None else None,
    )


def group_codes(groups: NDArray[Any]) -> NDArray[np.int64]:
    """A number per group; a row whose group is missing is a group of its own."""
    codes = pl.Series(groups.tolist(), dtype=pl.String).rank("dense").cast(pl.Int64)
    own = -1 - np.arange(len(codes))
    return np.where(codes.is_null().to_numpy(), own, codes.fill_null(0).to_numpy())
