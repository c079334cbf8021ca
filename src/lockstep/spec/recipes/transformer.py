"""Transformers over series, text and the columns of a table."""

from lockstep.errors import SpecError
from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.network import Transformer
from lockstep.spec.optimizers import AdamW
from lockstep.spec.recipes import windows
from lockstep.spec.recipes.mlp import table_batch
from lockstep.spec.schedules import CosineWarmup
from lockstep.spec.training import Population, Training


def transformer(kind: Kind, task: Task, rows: int) -> FitSpec:  # noqa: ARG001  (the task settles the head alone)
    """A pre-norm encoder of two blocks; AdamW, cosine after a warm-up.

    ``docs/decisions/0006-families.md`` has what was measured.
    """
    if kind == "images":
        raise SpecError(
            "The recipe transformer is for series, text and tables, however: images. Use --recipe cnn or mlp."
        )
    small = rows < 1_000
    if kind == "forecast":  # pieces of 16 rows, a new one every 8 (Nie et al. 2023)
        return FitSpec(
            recipe="transformer",
            model=Transformer(width=32, heads=4, layers=2, feedforward=64, patch=16, stride=8, dropout=0.2),
            optimizer=AdamW(lr=1e-3, weight_decay=0.01),
            schedule=CosineWarmup(),
            training=windows.TRAINING,
            population=windows.population(rows),
        )
    return FitSpec(
        recipe="transformer",
        model=Transformer(width=64, heads=4, layers=2, feedforward=128, dropout=0.2),
        optimizer=AdamW(lr=1e-3, weight_decay=0.01),
        schedule=CosineWarmup(),
        training=Training(
            epochs=100 if small else 30,
            batch_size=table_batch(rows) if kind == "table" else 16 if small else 64,
            patience=None if small else 8,
            monitor="valid_metric" if kind == "text" else "valid_loss",
        ),
        population=Population(valid_size=0.1 if rows >= 10_000 else 0.2),
    )  # fmt: skip
