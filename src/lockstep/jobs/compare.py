"""``lockstep compare``: every combination of settings, on the same folds and seeds, as one population."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep.engine.plan import Forced
from lockstep.jobs.fit import fitted
from lockstep.jobs.prepare import settings_of
from lockstep.jobs.run import Run
from lockstep.spec import FitSpec
from lockstep.spec.axes import parse_axes


def compare(
    x: Any,
    y: Any = None,
    *,
    vary: Mapping[str, Any] | Sequence[str] = (),
    target: str | None = None,
    recipe: str | None = None,
    spec: FitSpec | str | Path | None = None,
    set: Sequence[str] | Mapping[str, Any] = (),
    folds: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    members: Sequence[int] | str | None = None,
    halve: int | None = None,
    epochs: int | None = None,
    valid: Any = None,
    test: Any = None,
    test_size: float | None = None,
    header: bool | None = None,
    device: str = "auto",
    executor: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    at_once: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Train every combination of ``vary`` on the same folds and seeds, rank them, and keep the best as a run.

    ``vary={"activation": ["relu", "gelu"], "optimizer.lr": "log:1e-4:1e-1:7"}`` names settings by their path or its
    last part; ``["activation=relu,gelu"]`` says the same. Optimisers, schedules and models go by name, an optimiser at
    a rate of its own unless ``optimizer.lr`` is set or varied. Axes that ``spec`` or ``set`` hold count as well. With
    ``halve=3`` the best third of the candidates go on after E/27, E/9 and E/3 of E epochs (for 27 candidates), and only
    those that train to the end are ranked. All else is as in ``fit``. The ranking is ``run.comparison``; the run's
    model is the best of it, and its ``metrics`` are measured on the test rows.

    Raises ``DataError``, ``SpecError``, ``TrainingError`` and ``RunError``, each with the remedy.
    """
    axes = parse_axes(vary)
    settings = settings_of(
        spec, set, recipe=recipe, target=target, header=header, test_size=test_size, valid=valid, test=test,
        folds=folds, seeds=seeds, seed=seed, members=members, halve=halve, epochs=epochs,
    )  # fmt: skip
    forced = Forced(device, executor, precision, threads, at_once)
    return fitted(x, y, settings, forced, axes=axes, valid=valid, test=test, out=out, overwrite=overwrite, quiet=quiet)
