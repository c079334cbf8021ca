"""The course text's pipeline, with the numbers that were measured to be right for tables."""

from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.network import Mlp, Preprocess
from lockstep.spec.optimizers import AdamW
from lockstep.spec.training import Training


def mlp(kind: Kind, task: Task, rows: int) -> FitSpec:
    """(Linear, BatchNorm, ReLU, Dropout) × 2, Linear; AdamW 1e-3 / 0.01, cosine, clip 1.0, up to 100 epochs.

    Images keep the text's dropout of 0.5. The numbers for tables come from ``benchmarks/tables.py``.
    """
    if kind == "images":
        return FitSpec(
            recipe="mlp",
            model=Mlp(hidden=(256, 256), dropout=0.5),
            optimizer=AdamW(lr=1e-3, weight_decay=0.01),
            training=Training(epochs=100, batch_size=128, patience=16),
        )
    return FitSpec(
        recipe="mlp",
        preprocess=Preprocess(numbers="piecewise"),
        model=Mlp(hidden=(256, 256), dropout=0.1),
        optimizer=AdamW(lr=1e-3, weight_decay=0.01),
        training=Training(epochs=100, batch_size=256 if rows > 5000 else 64, patience=16),
    )
