"""What products in bfloat16 do to the time of a step and to the result.

    python benchmarks/precision.py DATA [--seeds 3]

``lockstep.fit`` of MNIST (one holdout, 256-256, 3 epochs), adult and digits by autograd, once in float32 and once with
products of numbers rounded to bfloat16 (weights, sums and statistics stay float32): seconds of training, and the
ensemble's scores on the test rows with their intervals. Whether the processor has such products is said first: where it
has none, torch works them out in software, and the time says nothing of one that has. DATA holds mnist/ and
adult/adult_train.csv.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

import lockstep
from lockstep.engine.machine import has_bfloat16

HIDDEN = {"model.hidden": [256, 256]}
FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "MNIST": ("mnist", {"folds": 1, "epochs": 3, "set": HIDDEN}),
    "adult": ("adult/adult_train.csv", {"target": "class", "folds": 2, "epochs": 10}),
    "digits": ("sklearn:digits", {"folds": 2, "epochs": 40}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(f"the processor has products in bfloat16: {'yes' if has_bfloat16(torch.device('cpu')) else 'no'}")
    for name, (source, settings) in FITS.items():
        where = source if ":" in source else str(given.data / source)
        for precision in ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as folder:
                run = lockstep.fit(
                    where, **settings, seeds=given.seeds, executor="eager", precision=precision, quiet=True,
                    out=f"{folder}/run",
                )  # fmt: skip
                scores = "   ".join(
                    f"{metric} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
                    for metric, score in run.metrics.items()
                    if metric in ("accuracy", "log_loss")
                )
                print(f"{name:7} {precision:9} {run.manifest['timing']['train']:6.1f} s   {scores}", flush=True)


if __name__ == "__main__":
    main()
