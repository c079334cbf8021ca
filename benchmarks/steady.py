"""Whether a long training keeps its pace and its memory, and whether a fit takes the memory that the plan said.

    python benchmarks/steady.py [--steps 10000] [--executor auto]
    python benchmarks/steady.py --memory DATA

The first trains 10 networks (5 folds × 2 seeds of the default recipe on 2,560 rows of 20 numbers, batches of 64) for so
many steps by the loop itself, and shows the step's time and the process's memory in the first, middle and last tenth.
The second fits each of several data sets for two epochs, in a process of its own each: what the plan says that the
process takes at most, and what it took, from its start to the report (millions of bytes).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "adult, 5 × 8": ("{data}/adult/adult_train.csv", {"target": "class", "folds": 5, "seeds": 8}),
    "MNIST, 5": ("{data}/mnist", {}),
    "200 rows, 5": ("200", {}),
    "adult, eager": ("{data}/adult/adult_train.csv", {"target": "class", "executor": "eager"}),
    "GunPoint, cnn": ("{data}/ucr/GunPoint_TRAIN.ts", {"recipe": "cnn"}),
    "JapaneseVowels, rnn": ("{data}/ucr/JapaneseVowels_TRAIN.ts", {"recipe": "rnn"}),
    "adult, transformer": ("{data}/adult/adult_train.csv", {"target": "class", "recipe": "transformer", "folds": 2}),
}


def memory(what: str = "VmRSS") -> float:
    """Megabytes of this process, now (``VmRSS``) or at most (``VmHWM``)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def rows(count: int, columns: int) -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(count, columns)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def job_of(x: Any, y: Any, executor: str, settings: dict[str, Any]) -> Any:
    from lockstep.engine.plan import Forced
    from lockstep.jobs.job import make_job
    from lockstep.jobs.prepare import prepare, settings_of
    from lockstep.jobs.progress import progress

    sets = settings.pop("set", {})
    with progress(quiet=True) as show:
        prepared = prepare(x, y, settings_of(None, sets, **settings), valid=None, test=None, show=show)
        return make_job(prepared, Forced("cpu", executor))


def steady(steps: int, executor: str) -> None:
    from lockstep.engine.train import train_population

    x, y = rows(2560, 20)
    sets = {"training.batch_size": 64, "training.patience": None}
    job = job_of(x, y, executor, {"seeds": 2, "test_size": 0, "epochs": -(-steps // 32), "set": sets})
    seen: list[tuple[float, float]] = []
    train_population(
        job.population, job.networks, job.problem, job.device,
        observers=[lambda record: seen.append((record.seconds, memory()))],
    )  # fmt: skip
    count, per_epoch, K = len(seen), job.population.members[0].steps, len(job.networks)
    print(f"{count * per_epoch:,} steps of {K} networks, executor {executor}, validation included")
    for what, start in (("first", 0), ("middle", (count - count // 10) // 2), ("last", count - count // 10)):
        part = seen[start : start + count // 10]
        step = 1e3 * median(seconds for seconds, _ in part) / per_epoch
        print(f"  {what:6} tenth: {step:6.3f} ms a step (median over epochs), {part[-1][1]:,.0f} MB", flush=True)


def one_fit(name: str, data: str) -> None:
    """In a process of its own."""
    import lockstep

    source, settings = FITS[name]
    x, y = rows(200, 8) if source == "200" else (source.format(data=data), None)
    with tempfile.TemporaryDirectory() as folder:
        run = lockstep.fit(x, y, out=f"{folder}/run", quiet=True, **settings, epochs=2)
        said = next(choice["value"] for choice in run.manifest["plan"] if choice["choice"] == "memory")
        print(f"{name:24} said {said:>9}   was {memory('VmHWM') * 1.048576:6,.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--executor", default="auto")
    parser.add_argument("--memory", metavar="DATA")
    parser.add_argument("--fit", choices=FITS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        one_fit(given.fit, given.memory)
    elif given.memory:
        for name in FITS:
            subprocess.run([sys.executable, __file__, "--memory", given.memory, "--fit", name], check=True)
    else:
        steady(given.steps, given.executor)


if __name__ == "__main__":
    main()
