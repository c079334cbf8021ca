"""One neuron, trained until it has converged."""

from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.network import Perceptron, Preprocess
from lockstep.spec.optimizers import Adam
from lockstep.spec.recipes import windows
from lockstep.spec.training import Population, Training

STEPS, BATCH = 500, 4096


def perceptron(kind: Kind, task: Task, rows: int) -> FitSpec:  # noqa: ARG001  (the head follows from the task)
    """Logistic, softmax or linear regression by Adam 0.3, cosine; up to 4,096 rows each step sees them all.

    The loss is convex and nothing regularises it, so it is trained to the end and the weights of the lowest training
    loss are kept: the coefficients are those of the maximum likelihood, where that is finite. Where a plane parts the
    classes without an error it is not, and the coefficients grow as long as training goes on: ``training.monitor =
    "valid_loss"`` then keeps the weights that do best on the member's validation rows. Columns that nearly repeat each
    other are what gradient descent is slow at: give it more epochs where their coefficients matter.
    """
    if kind == "forecast":  # one matrix from the context to the horizon (Zeng et al. 2023)
        return FitSpec(
            recipe="perceptron",
            model=Perceptron(),
            optimizer=Adam(lr=1e-3),
            training=windows.TRAINING,
            population=windows.population(rows),
        )
    return FitSpec(
        recipe="perceptron",
        preprocess=Preprocess(numbers="standard"),
        model=Perceptron(),
        optimizer=Adam(lr=0.3, beta2=0.99),
        training=Training(
            epochs=max(100, STEPS * BATCH // max(rows, BATCH)), batch_size=BATCH, clip_norm=None, monitor="train_loss"
        ),
        population=Population(valid_size=0.1 if rows >= 10_000 else 0.2),
    )
