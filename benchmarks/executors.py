"""What a training step costs by the executors `eager` (autograd), `backprop` (the chain rule written out in PyTorch)
and `compiled` (in C++), and by a plain PyTorch loop over one network at a time.

    python benchmarks/executors.py [THREADS [DATA]]

Whole steps (gather, forward, backward, clip, AdamW) of stacks of D-H-H-C networks with norm, activation and dropout;
then, if DATA is a folder with adult/adult_train.csv, of the default fit on it. Microseconds per member and step, each
the fastest of many calls taken in turn in one process (single steps, but for `compiled`, which takes many in a call):
read the ratios. With one thread it is processor
time, so that other programs count for little.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lockstep.engine.executors import EXECUTORS, Objective
from lockstep.engine.plan import Forced
from lockstep.engine.stack import Stack, lift
from lockstep.engine.state import fresh_state
from lockstep.engine.step import Resident, Tables
from lockstep.jobs.job import make_job
from lockstep.jobs.prepare import prepare, settings_of
from lockstep.jobs.progress import progress
from lockstep.network.losses import LOSSES
from lockstep.optim import rule_for
from lockstep.spec import AdamW

CHAIN = ["eager", "backprop", "compiled"]
ROWS, TURNS, MANY, CPU = 4096, 12, 20, torch.device("cpu")
SIZES = {  # K members, B rows, D-H-H-C, dropout
    "W1": (1, 128, 784, 256, 10, 0.5),
    "W2": (16, 64, 20, 64, 2, 0.1),
    "W3": (64, 64, 20, 64, 2, 0.1),
    "W4": (16, 256, 20, 128, 2, 0.1),
    "W5": (8, 128, 784, 256, 10, 0.5),
}
ACTIVATIONS = (nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh)


def network(D: int, H: int, C: int, p: float, activation: type[nn.Module], norm: type[nn.Module]) -> nn.Module:
    widths = ((D, H), (H, H))
    return nn.Sequential(
        *(layer for i, o in widths for layer in (nn.Linear(i, o), norm(o), activation(), nn.Dropout(p))),
        nn.Linear(H, C),
    )


def stacked(stack: Stack, objective: Objective, executor: str, batch: int, steps: int = 1) -> Callable[[], object]:
    """So many steps of the stack, in one call."""
    K, rule = len(stack.params), rule_for(AdamW())
    hyper = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
    numbers = {name: torch.full((K,), value, dtype=torch.float64) for name, value in hyper.items()}
    factors = rule.coefficients(numbers, torch.full((steps, K), 1e-3, dtype=torch.float64), 5)
    keys = torch.randint(-(2**31), 2**31, (steps, K, len(stack.dropouts)), dtype=torch.int32)
    tables = Tables({}, keys, tuple(factors), torch.stack(list(factors.values()), dim=1).float(), torch.ones(K))
    runner, state = EXECUTORS[executor].runner(stack, objective, rule), fresh_state(stack, rule)
    rows = torch.randint(len(objective.data.targets), (steps, K, batch))
    return lambda: runner.steps(state, rows, tables)


def steps_of_a_call(stack: Stack, objective: Objective, executor: str, batch: int) -> int:
    """As many as a training takes at once."""
    return EXECUTORS[executor].runner(stack, objective, rule_for(AdamW())).at_once(batch)


def plain(module: nn.Module, data: Resident, batch: int) -> Callable[[], object]:
    """A step of one network, as it is usually written."""
    optimizer = torch.optim.AdamW(module.train().parameters(), 1e-3)

    def step() -> None:
        rows = torch.randint(ROWS, (batch,))
        optimizer.zero_grad()
        F.cross_entropy(module(data.inputs[0][rows]), data.targets[rows]).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    return step


def fastest(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The seconds of each one's fastest step, a few steps of each in turn."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(TURNS):
        for name, step in steps.items():
            for _ in range(6):
                began = clock()
                step()
                best[name] = min(best[name], clock() - began)
    return best


def report(what: str, size: str, activation: type[nn.Module] = nn.ReLU, norm: type[nn.Module] = nn.BatchNorm1d) -> None:
    K, batch, D, H, C, p = SIZES[size]
    modules = [network(D, H, C, p, activation, norm) for _ in range(K)]
    data = Resident((torch.randn(ROWS, D),), torch.randint(C, (ROWS,)))
    stack = lift(modules, CPU)
    objective = Objective("cross_entropy", LOSSES["cross_entropy"], data)
    steps = {name: stacked(stack, objective, name, batch, MANY if name == "compiled" else 1) for name in CHAIN}
    best = fastest(steps | {"plain": plain(modules[0], data, batch)})
    show(what, {name: 1e6 * best[name] / K / (MANY if name == "compiled" else 1) for name in CHAIN}, best["plain"])


def show(what: str, costs: dict[str, float], loop: float | None = None) -> None:
    cells = "".join(f"{cost:10.0f}" for cost in costs.values())
    if loop is not None:
        cells += f"{1e6 * loop:10.0f}" + "".join(f"{1e6 * loop / cost:9.1f} ×" for cost in costs.values())
    print(f"{what:24}{cells}", flush=True)


def adult(path: Path) -> None:
    """The default fit's own step, with its preprocessing and embeddings."""
    with progress(quiet=True) as show:
        prepared = prepare(str(path), None, settings_of(None, (), target="class"), valid=None, test=None, show=show)
        job = make_job(prepared, Forced("cpu"))
    members = job.population.training
    stack, objective = lift(job.networks, CPU), job.problem(members).objective
    many = {name: MANY if name == "compiled" else 1 for name in CHAIN}
    best = fastest({name: stacked(stack, objective, name, members[0].batch_size, many[name]) for name in CHAIN})
    show("adult, the default fit", {name: 1e6 * best[name] / len(members) / many[name] for name in CHAIN})


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; µs per member and step")
    print(f"{'':24}" + "".join(f"{name:>10}" for name in (*CHAIN, "plain")) + "   plain over each")
    for size in SIZES:
        report(f"{size}, relu, batch norm", size)
    for activation in ACTIVATIONS:
        report(f"W2, {activation.__name__}", "W2", activation)
    for norm in (nn.LayerNorm, nn.RMSNorm, nn.Identity):
        report(f"W2, {norm.__name__}", "W2", norm=norm)
    if len(sys.argv) > 2:
        adult(Path(sys.argv[2]) / "adult/adult_train.csv")


if __name__ == "__main__":
    main()
