"""Convolutional networks, by kind of data."""

from lockstep.errors import SpecError
from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.network import Augment, Cnn, Preprocess
from lockstep.spec.optimizers import AdamW
from lockstep.spec.recipes import windows
from lockstep.spec.schedules import CosineWarmup
from lockstep.spec.training import Loss, Population, Training


def cnn(kind: Kind, task: Task, rows: int) -> FitSpec:
    """Images: two stages of 3 × 3 convolutions, shifted while training. Series: the residual fully convolutional
    network of Wang et al. (2017), smaller. Text: parallel branches of widths 1 to 5 (Kim 2014), and the epoch with the
    best validation metric, for there the loss turns epochs before it; labels a little smoothed where there are several.

    ``docs/decisions/0006-families.md`` has what was measured.
    """
    population = Population(valid_size=0.1 if rows >= 10_000 else 0.2)
    match kind:
        case "images":
            return FitSpec(
                recipe="cnn",
                model=Cnn(channels=(32, 64), pooling="flatten", dropout=0.2, augment=Augment(shift=2)),
                optimizer=AdamW(lr=3e-3, weight_decay=0.01),
                schedule=CosineWarmup(),
                training=Training(epochs=8 if rows >= 10_000 else 60, batch_size=128 if rows >= 10_000 else 32),
                population=population,
            )
        case "text":
            return FitSpec(
                recipe="cnn",
                preprocess=Preprocess(spelling=4096),
                model=Cnn(
                    layout="parallel", channels=(100,), kernel=(1, 2, 3, 4, 5), norm="none", pool=1, pooling="max",
                    dropout=0.5,
                ),
                loss=Loss(label_smoothing=0.05 if task == "multiclass" else 0.0),
                optimizer=AdamW(lr=2e-3 if rows >= 10_000 else 1e-3, weight_decay=0.01),
                schedule=CosineWarmup(),
                training=Training(
                    epochs=20, batch_size=128 if rows >= 10_000 else 64, patience=5, monitor="valid_metric"
                ),
                population=population,
            )  # fmt: skip
        case "table":
            raise SpecError(
                "The recipe cnn is for images, series and text, however: a table, whose columns have no neighbours. "
                "Use --recipe mlp or transformer."
            )
    ahead = kind == "forecast"
    series = Training(epochs=100 if rows < 1_000 else 30, batch_size=16 if rows < 1_000 else 64)
    return FitSpec(
        recipe="cnn",
        model=Cnn(channels=(32, 64, 64), kernel=(7, 5, 3), residual=True, pool=1, pooling="mean_max", dropout=0.2),
        optimizer=AdamW(lr=3e-3, weight_decay=0.01),
        schedule=CosineWarmup(),
        training=windows.TRAINING if ahead else series,
        population=windows.population(rows) if ahead else population,
    )
