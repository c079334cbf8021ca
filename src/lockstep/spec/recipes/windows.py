"""What every recipe for a forecast has in common: windows are many and alike, so few epochs are needed."""

from lockstep.spec.training import Population, Training

TRAINING = Training(epochs=20, batch_size=64, patience=3)


def population(rows: int) -> Population:
    """One split, by time, and three seeds to be averaged."""
    return Population(folds=1, seeds=3, valid_size=0.1 if rows >= 10_000 else 0.2)
