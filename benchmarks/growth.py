"""What a member costs as the population grows from 1 to 256, beside the same networks one after another.

    python benchmarks/growth.py [--plot docs/growth.svg] [--most 256] [--turns 6] [--threads 1]

Whole steps (gather, forward, backward, clip, AdamW) of the networks of W2 (20-64-64-2, batches of 64) and W4
(20-128-128-2, batches of 256) with batch norm, ReLU and dropout: by the executor that ``auto`` takes, K members in one
stack; and by a plain PyTorch loop over one network, on one thread or on all, whichever is faster: its cost per member
is the same for every K. Microseconds per member and step, each the fastest of several calls taken in turn. ``state`` is
what K members' weights, gradients and moments take: compare it with the processor's caches. Compiling is not counted
(cold.py does). With one thread it is processor time, so that other programs count for little.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from executors import CPU, ROWS, SIZES, network, plain, stacked, steps_of_a_call
from torch import nn

from lockstep.engine.executors import Objective, pick
from lockstep.engine.stack import lift
from lockstep.engine.step import Resident
from lockstep.network.losses import LOSSES

NETWORKS = {"W2": "20-64-64-2, batch 64", "W4": "20-128-128-2, batch 256"}
Row = dict[str, Any]


def population(size: str, K: int) -> tuple[Callable[[], object], int, int]:
    """A call of many steps of K members, how many steps, and the bytes of their state."""
    _, batch, D, H, C, p = SIZES[size]
    data = Resident((torch.randn(ROWS, D),), torch.randint(C, (ROWS,)))
    modules = [network(D, H, C, p, nn.ReLU, nn.BatchNorm1d) for _ in range(K)]
    stack, objective = lift(modules, CPU), Objective("cross_entropy", LOSSES["cross_entropy"], data)
    executor, _ = pick("auto", modules[0], objective)
    steps = steps_of_a_call(stack, objective, executor, batch)
    return stacked(stack, objective, executor, batch, steps), steps, 4 * 4 * stack.params.numel()


def one(size: str) -> Callable[[], object]:
    _, batch, D, H, C, p = SIZES[size]
    data = Resident((torch.randn(ROWS, D),), torch.randint(C, (ROWS,)))
    return plain(network(D, H, C, p, nn.ReLU, nn.BatchNorm1d), data, batch)


def seconds(call: Callable[[], object], times: int = 1) -> float:
    clock = time.perf_counter if torch.get_num_threads() > 1 else time.process_time
    best = float("inf")
    for _ in range(times):
        began = clock()
        call()
        best = min(best, clock() - began)
    return best


def alone(call: Callable[[], object]) -> float:
    """The plain loop's step on one thread or on all, whichever is faster."""
    threads, best = torch.get_num_threads(), seconds(call, 10)
    if threads > 1:
        torch.set_num_threads(1)
        best = min(best, seconds(call, 10))
        torch.set_num_threads(threads)
    return best


def measure(size: str, counts: list[int], turns: int) -> list[Row]:
    """A row per K: microseconds per member and step of both, the bytes of the state."""
    single, stacks = one(size), {K: population(size, K) for K in counts}
    best, loop = dict.fromkeys(counts, float("inf")), float("inf")
    for _ in range(turns):
        for K, (call, steps, _) in stacks.items():
            best[K] = min(best[K], 1e6 * seconds(call) / steps / K)
            loop = min(loop, 1e6 * alone(single))
    return [{"size": size, "K": K, "ours": best[K], "loop": loop, "bytes": stacks[K][2]} for K in counts]


def show(rows: list[Row]) -> None:
    size, loop = rows[0]["size"], rows[0]["loop"]
    print(f"{size}, {NETWORKS[size]}; one after another in plain torch: {loop:,.0f} µs per member and step")
    print("    K    state      µs per member and step    of K members    faster than one after another")
    for row in rows:
        K, ours = row["K"], row["ours"]
        print(f"{K:5} {row['bytes'] / 1e6:6.1f} MB {ours:20.1f} {ours * K:21,.0f} {loop / ours:22.1f} ×", flush=True)


def plot(rows: list[Row], file: Path) -> None:
    """The table as an SVG, both axes logarithmic."""
    import vl_convert

    names = {"ours": "one stack", "loop": "one after another, plain torch"}
    values = [
        {"K": row["K"], "cost": row[how], "how": name, "network": NETWORKS[row["size"]]}
        for row in rows
        for how, name in names.items()
    ]
    counts = sorted({row["K"] for row in rows})
    log: Row = {"type": "log", "nice": False}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": values},
        "width": 460,
        "height": 300,
        "background": "white",
        "title": {"text": f"solid: {names['ours']}; dashed: {names['loop']}", "anchor": "start"},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {
                "field": "K", "type": "quantitative", "title": "members K", "scale": log | {"base": 2},
                "axis": {"values": counts},
            },
            "y": {
                "field": "cost", "type": "quantitative", "title": "µs per member and step", "scale": {"type": "log"},
                "axis": {"format": ",.0f"},
            },
            "color": {"field": "network", "type": "nominal", "title": "network"},
            "strokeDash": {"field": "how", "type": "nominal", "sort": list(names.values()), "legend": None},
        },
    }  # fmt: skip
    file.write_text(vl_convert.vegalite_to_svg(spec))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--most", type=int, default=256)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    counts = [2**power for power in range(given.most.bit_length()) if 2**power <= given.most]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows: list[Row] = []
    for size in NETWORKS:
        rows += measure(size, counts, given.turns)
        show(rows[-len(counts) :])
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
