"""Whether what the plan chooses is the fastest of all that can be forced, from start to finish.

    python benchmarks/choices.py DATA [--turns 2] [--only adult MNIST "200 rows"]

``lockstep fit`` of adult (5 folds), of MNIST (one network of 256-256, 3 epochs) and of a table of 200 rows, report and
all, each a process of its own with kernels compiled before: as the plan has it, and with each executor, number of
threads and number of networks at once forced in turn. Seconds, the fastest of several turns; what cannot train such
networks is left out. ``cold`` is the plan's own choice with an empty cache folder. DATA holds adult/adult_train.csv and
mnist/.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cold import table

FITS = {
    "adult": ["adult/adult_train.csv", "--target", "class", "--epochs", "10"],
    "MNIST": ["mnist", "--folds", "1", "--epochs", "3", "--set", "model.hidden=256,256"],
    "200 rows": ["", "--target", "target"],
}
FORCED = {
    "the plan's": [],
    **{f"executor {name}": ["--executor", name] for name in ("eager", "backprop", "compiled", "fused")},
    "1 thread": ["--threads", "1"],
    "1 at once": ["--at-once", "1"],
}


def seconds(fit: list[str], cache: str | None = None) -> float | None:
    """Of the whole process; None where it is refused."""
    environment = os.environ | ({} if cache is None else {"XDG_CACHE_HOME": cache})
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "lockstep", "fit", *fit, "--quiet", "--out", f"{out}/run"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        took = time.perf_counter() - began
    if done.returncode and "executor=" not in done.stderr:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return None if done.returncode else took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=FITS, default=list(FITS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = str(table(Path(folder) / "table.csv"))
        for name in given.only:
            source, *rest = FITS[name]
            fit = [str(given.data / source) if source else small, *rest]
            seconds([*fit, "--executor", "compiled"])  # compiles the kernels
            took: dict[str, list[float]] = {}
            for _ in range(given.turns):
                for how, flags in FORCED.items():
                    if (one := seconds([*fit, *flags])) is not None:
                        took.setdefault(how, []).append(one)
            best = {how: min(times) for how, times in took.items()}
            fastest = min(best.values())
            print(f"{name}: {' '.join(rest)}")
            for how, time_ in sorted(best.items(), key=lambda item: item[1]):
                print(f"  {how:18} {time_:6.1f} s   {time_ / fastest:5.2f} of the fastest", flush=True)
            with tempfile.TemporaryDirectory() as cache:
                print(f"  {'the plan, cold':18} {seconds(fit, cache):6.1f} s", flush=True)


if __name__ == "__main__":
    main()
