"""What a comparison costs beside its networks one by one, and whether each optimiser's own rate is a sensible one.

    python benchmarks/compare.py [--folds 5] [--seeds 2] [--epochs 100] [--sample 5] [--data FILE --target COL]
    python benchmarks/compare.py --rates [--epochs 10] [--data FILE --target COL]

The first compares 4 activations × 5 optimisers × folds × seeds on adult (``$LOCKSTEP_DATA/adult/adult_train.csv``) by
one call. The same networks one by one would take too long, so ``--sample`` of them are trained alone, spread evenly
over the population, and their mean time is multiplied: with the reading of the data and without it. The second sweeps
each optimiser's rate over factors of its own one on a single split.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import lockstep
from lockstep.spec import Vary
from lockstep.spec.axes import parse_axes, with_axes
from lockstep.spec.choices import OPTIMIZERS
from lockstep.spec.recipes import find_recipe

VARY = {"activation": ["relu", "gelu", "silu", "tanh"], "optimizer": ["sgd", "momentum", "rmsprop", "adam", "adamw"]}
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)


def timed(data: str, out: Path, **settings: Any) -> tuple[lockstep.Run, float]:
    began = time.perf_counter()
    run = lockstep.compare(data, vary=VARY, out=out, overwrite=True, quiet=True, **settings)
    return run, time.perf_counter() - began


def cost(data: str, settings: dict[str, Any], sample: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, seconds = timed(data, Path(folder) / "all", **settings)
        found = run.comparison
        assert found is not None
        count, train = found["networks"], run.manifest["timing"]["train"]
        print(f"{count} networks in {found['stacks']} stacks: {seconds:.0f} s, of which training {train:.0f} s")
        print(found["verdict"])
        print(
            f"on {run.evaluation['rows']} rows: {run.evaluation['headline']} {run.metrics[run.evaluation['headline']]}"
        )
        alone, training = [], []
        for i in range(sample):
            member = (2 * i + 1) * count // (2 * sample)
            one, took = timed(data, Path(folder) / "one", members=[member], **settings)
            alone.append(took)
            training.append(one.manifest["timing"]["train"])
            print(f"  network {member} alone: {took:.1f} s, of which training {training[-1]:.1f} s")
        for what, each, whole in (("whole calls", alone, seconds), ("training alone", training, train)):
            total = count * sum(each) / len(each)
            print(f"one by one, estimated from {sample} of {count}, {what}: {total:.0f} s, {total / whole:.1f} times")


def rates(data: str, settings: dict[str, Any]) -> None:
    for name in OPTIMIZERS:
        base = with_axes(find_recipe("mlp").make("table", "binary", 10_000), parse_axes({"optimizer": [name]}), {})
        assert isinstance(base.optimizer, Vary)
        piece = base.optimizer.values[0]
        own = piece.lr
        pieces = [piece.replace("lr", float(f"{factor * own:.4g}")) for factor in FACTORS]
        with tempfile.TemporaryDirectory() as folder:
            run = lockstep.compare(data, vary={"optimizer": pieces}, out=Path(folder) / "run", quiet=True, **settings)
            assert run.comparison is not None
            by_candidate = {one["candidate"]: one["mean"] for one in run.comparison["candidates"]}
        scores = [by_candidate.get(place) for place in range(len(FACTORS))]
        said = "  ".join(f"{piece.lr:g}: {score:.4f}" for piece, score in zip(pieces, scores, strict=True))
        print(f"{name:9} own {own:g}   {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=f"{os.environ.get('LOCKSTEP_DATA', '.')}/adult/adult_train.csv")
    parser.add_argument("--target", default=None)
    parser.add_argument("--folds", type=int, default=None)
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--sample", type=int, default=5)
    parser.add_argument("--rates", action="store_true")
    given = parser.parse_args()
    target = given.target or ("class" if "adult" in given.data else None)
    folds, seeds = (given.folds or 1, given.seeds or 2) if given.rates else (given.folds or 5, given.seeds or 2)
    settings = {"target": target, "folds": folds, "seeds": seeds, "epochs": given.epochs}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.data}")
    if given.rates:
        rates(given.data, settings)
    else:
        cost(given.data, settings, given.sample)


if __name__ == "__main__":
    main()
