"""The course text's pipeline, with the numbers that were measured to be right for tables."""

from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.network import Mlp, Preprocess
from lockstep.spec.optimizers import AdamW
from lockstep.spec.recipes import windows
from lockstep.spec.training import Population, Training


def mlp(kind: Kind, task: Task, rows: int) -> FitSpec:  # noqa: ARG001  (a recipe may look at the task; this one need not)
    """(Linear, BatchNorm, ReLU, Dropout) × 2, Linear; AdamW 1e-3 / 0.01, cosine, clip 1.0, up to 100 epochs.

    Images keep the text's dropout of 0.5. The numbers for tables come from ``docs/decisions/0003-tables.md``; a single
    holdout (``folds=1``) needs a smaller share of more rows.
    """
    if kind == "forecast":
        return forecast(rows)
    table = kind == "table"
    return FitSpec(
        recipe="mlp",
        preprocess=Preprocess(numbers="piecewise", bins=32),
        model=Mlp(hidden=(256, 256), dropout=0.2 if table else 0.5),
        optimizer=AdamW(lr=1e-3, weight_decay=0.01),
        training=Training(epochs=100, batch_size=table_batch(rows) if table else 128, patience=10),
        population=Population(valid_size=0.1 if rows >= 10_000 else 0.2),
    )


def forecast(rows: int) -> FitSpec:
    """Two hidden layers without norm, for windows are standardised one by one; few epochs, for windows are many."""
    return FitSpec(
        recipe="mlp",
        model=Mlp(hidden=(256, 256), activation="gelu", norm="none", dropout=0.3),
        optimizer=AdamW(lr=3e-4, weight_decay=0.01),
        training=windows.TRAINING,
        population=windows.population(rows),
    )


def table_batch(rows: int) -> int:
    """Larger tables take larger batches: a step costs little more, and an epoch fewer of them."""
    return 512 if rows >= 20_000 else 256 if rows >= 5_000 else 64
