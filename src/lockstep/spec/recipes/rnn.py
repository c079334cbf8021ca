"""Recurrent networks along series and text."""

from lockstep.errors import SpecError
from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.network import Rnn
from lockstep.spec.optimizers import AdamW
from lockstep.spec.recipes import windows
from lockstep.spec.schedules import CosineWarmup
from lockstep.spec.training import Population, Training


def rnn(kind: Kind, task: Task, rows: int) -> FitSpec:  # noqa: ARG001  (the task settles the head alone)
    """A GRU both ways, the maximum of its states over time; AdamW, cosine after a warm-up.

    ``docs/decisions/0006-families.md`` has what was measured.
    """
    if kind in ("table", "images"):
        raise SpecError(
            f"The recipe rnn is for series and text, however: {'a table' if kind == 'table' else kind}. "
            f"Use --recipe {'mlp or transformer' if kind == 'table' else 'cnn or mlp'}."
        )
    small = rows < 1_000
    if kind == "forecast":
        return FitSpec(
            recipe="rnn",
            model=Rnn(cell="gru", hidden=64, bidirectional=False, pooling="last", dropout=0.1),
            optimizer=AdamW(lr=1e-3, weight_decay=0.01),
            schedule=CosineWarmup(),
            training=windows.TRAINING,
            population=windows.population(rows),
        )
    return FitSpec(
        recipe="rnn",
        model=Rnn(cell="gru", hidden=64, pooling="max", dropout=0.3),
        optimizer=AdamW(lr=3e-3, weight_decay=0.01),
        schedule=CosineWarmup(),
        training=Training(
            epochs=60 if small else 30,
            batch_size=16 if small else 64,
            patience=None if small else 8,
            monitor="valid_metric" if kind == "text" else "valid_loss",
        ),
        population=Population(valid_size=0.1 if rows >= 10_000 else 0.2),
    )
