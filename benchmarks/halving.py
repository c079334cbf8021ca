"""What halving saves, and whether it ends with the same winner.

    python benchmarks/halving.py [--rates 27] [--halve 3] [--epochs 27] [--folds 3] [--seeds 1] [--turns 1]
                                 [--data FILE --target COL] [--threads 1]

The same ``--rates`` learning rates, spread evenly by their logarithm, are compared on adult
(``$LOCKSTEP_DATA/adult/adult_train.csv``) with and without ``halve``, in turn. Of each ``--turns`` the least processor
time counts. Then: where the winner of either stands in the other, and what both score on the test rows.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import lockstep


def timed(data: str, halve: int | None, folder: str, **settings: Any) -> tuple[lockstep.Run, float, float]:
    """The run, its seconds of training by the clock, and the whole call's seconds of processors."""
    began = time.process_time()
    run = lockstep.compare(data, halve=halve, out=Path(folder) / str(halve), overwrite=True, quiet=True, **settings)
    return run, run.manifest["timing"]["train"], time.process_time() - began


def said(run: lockstep.Run) -> str:
    found, headline = run.comparison, run.evaluation["headline"]
    assert found is not None
    score = run.metrics[headline]
    return (
        f"{found['label']}; on the test rows {headline} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=f"{os.environ.get('LOCKSTEP_DATA', '.')}/adult/adult_train.csv")
    parser.add_argument("--target", default=None)
    for name, default in (
        ("rates", 27), ("halve", 3), ("epochs", 27), ("folds", 3), ("seeds", 1), ("turns", 1), ("threads", 1)
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    target = given.target or ("class" if "adult" in given.data else None)
    settings = {"target": target, "folds": given.folds, "seeds": given.seeds, "epochs": given.epochs}
    vary = {"optimizer.lr": f"log:1e-4:1e-1:{given.rates}"}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.data}")
    print(f"{given.rates} rates × {given.folds} folds × {given.seeds} seeds, at most {given.epochs} epochs")

    runs: dict[int | None, lockstep.Run] = {}
    times: dict[int | None, list[tuple[float, float]]] = {None: [], given.halve: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.turns):
            for halve in times:
                runs[halve], train, processors = timed(given.data, halve, folder, vary=vary, **settings)
                times[halve].append((processors, train))
        least = {halve: min(found) for halve, found in times.items()}
        for halve, run in runs.items():
            processors, train = least[halve]
            print(
                f"halve={halve}: {processors:.0f} s of processors, {train:.0f} s of training by the clock, "
                f"{run.history.height:,} network-epochs. The winner: {said(run)}"
            )
        whole, halved = runs[None].comparison, runs[given.halve].comparison
        assert whole is not None
        assert halved is not None
        print(f"for {least[None][0] / least[given.halve][0]:.1f} times less processor time")
        place = {one["candidate"]: one for one in whole["candidates"]}
        for one in halved["candidates"]:
            own = place[one["candidate"]]
            print(f"{one['label']}, left at the end, is number {own['rank']} of {len(place)} without halving")
        behind = [one for one in halved["halved"] if one["candidate"] == whole["winner"]]
        for one in behind:
            print(f"the winner without halving was left behind after epoch {one['epoch']}")


if __name__ == "__main__":
    main()
