"""Five workloads against the ways they would be run otherwise, in turn in one process.

    python benchmarks/workloads.py [W1 W2 W3 W4 W5]
    env -u CXX PATH= $(which python) benchmarks/workloads.py W1 W2      # as if there were no compiler

Every contender takes whole steps (rows gathered, forward, backward, the gradient's norm clipped at 1, AdamW 1e-3/0.01)
of networks D-H-H-C with batch norm, ReLU and dropout, in float32, on as many threads as torch takes:

- ``plain``: the usual loop over one network, rows indexed from a tensor; ``fused`` with ``AdamW(fused=True)``;
  ``loader`` with a ``DataLoader`` over a ``TensorDataset``;
- ``torch.compile``: forward and loss compiled, fused AdamW (if there is a compiler);
- ``jax``: by hand, ``jit`` of ``vmap`` over members of ``lax.scan`` over steps, with its fast random bits (if it is
  here);
- ``lockstep``: the executor that ``auto`` takes;
- ``floor``: the operations of the matrix products alone at the speed of one large product of torch's.

Microseconds per member and step, the fastest of several calls; then ratios. Compiling is not counted.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from executors import CPU, ROWS, SIZES, network, plain, stacked, steps_of_a_call
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lockstep.engine.executors import Objective, pick
from lockstep.engine.native import NoLibrary
from lockstep.engine.native.toolchain import find_compiler
from lockstep.engine.stack import lift
from lockstep.engine.step import Resident
from lockstep.network.losses import LOSSES

Call = tuple[Callable[[], object], int]  # what to call, and how many member-steps that is
ROUNDS, A_TURN = 8, 0.2  # seconds of each, in turn


def fused(module: nn.Module, data: Resident, batch: int, *, compiled: bool = False) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(module.train().parameters(), 1e-3, fused=True)

    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(module(x), y)

    loss = torch.compile(forward) if compiled else forward

    def step() -> None:
        rows = torch.randint(ROWS, (batch,))
        optimizer.zero_grad()
        loss(data.inputs[0][rows], data.targets[rows]).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    return step


def loader(module: nn.Module, data: Resident, batch: int) -> Call:
    """An epoch."""
    optimizer = torch.optim.AdamW(module.train().parameters(), 1e-3)
    batches = DataLoader(TensorDataset(data.inputs[0], data.targets), batch, shuffle=True, drop_last=True)

    def epoch() -> None:
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(module(x), y).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()

    return epoch, len(batches)


def lockstep_steps(K: int, data: Resident, batch: int, modules: list[nn.Module]) -> Call:
    stack, objective = lift(modules, CPU), Objective("cross_entropy", LOSSES["cross_entropy"], data)
    executor, _ = pick("auto", modules[0], objective)
    steps = steps_of_a_call(stack, objective, executor, batch)
    return stacked(stack, objective, executor, batch, steps), steps * K


def jax_steps(K: int, data: Resident, batch: int, sizes: tuple[int, int, int], p: float, steps: int) -> Call | None:
    """The same network, loss, clipping and rule, as one writes them in JAX."""
    try:
        import jax
    except ImportError:
        return None
    import jax.numpy as jnp

    jax.config.update("jax_default_prng_impl", "unsafe_rbg")
    D, H, C = sizes
    x_all, y_all = jnp.asarray(data.inputs[0].numpy()), jnp.asarray(data.targets.numpy())

    def fresh(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        widths = ((D, H), (H, H), (H, C))
        layers = [
            {"w": jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, "b": jnp.zeros(o)}
            for k, (i, o) in zip(keys, widths, strict=True)
        ]
        for layer in layers[:2]:
            layer |= {"gain": jnp.ones(H), "shift": jnp.zeros(H)}
        return layers, [(jnp.zeros(H), jnp.ones(H))] * 2

    def loss_of(layers: Any, stats: Any, x: Any, y: Any, key: Any) -> Any:
        became = []
        for layer, (running_mean, running_var), own in zip(layers[:2], stats, jax.random.split(key), strict=True):
            z = x @ layer["w"] + layer["b"]
            mean, var = z.mean(0), z.var(0)
            became.append((0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * var * batch / (batch - 1)))
            h = jax.nn.relu((z - mean) * jax.lax.rsqrt(var + 1e-5) * layer["gain"] + layer["shift"])
            x = jnp.where(jax.random.bernoulli(own, 1 - p, h.shape), h / (1 - p), 0)
        logits = x @ layers[2]["w"] + layers[2]["b"]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), became

    def step(carry: Any, rows: Any) -> Any:
        layers, stats, m, v, t, key = carry
        key, own = jax.random.split(key)
        (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(layers, stats, x_all[rows], y_all[rows], own)
        norm = jnp.sqrt(sum((g * g).sum() for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)), grads)
        t = t + 1
        m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, grads)
        v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, v, grads)
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        layers = jax.tree.map(
            lambda w, a, b: w * (1 - 1e-5) - 1e-3 * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), layers, m, v
        )
        return (layers, stats, m, v, t, key), loss

    train = jax.jit(jax.vmap(lambda carry, rows: jax.lax.scan(step, carry, rows)), donate_argnums=0)
    keys = jax.random.split(jax.random.key(0), K)
    layers, stats = jax.vmap(fresh)(keys)
    nothing = jax.tree.map(jnp.zeros_like, layers)
    carry = (layers, stats, nothing, jax.tree.map(jnp.zeros_like, layers), jnp.zeros(K), keys)
    rows = jnp.asarray(torch.randint(ROWS, (K, steps, batch)).numpy())
    held = [carry]

    def call() -> None:
        held[0], losses = train(held[0], rows)
        losses.block_until_ready()

    return call, steps * K


def has_compiler() -> bool:
    try:
        return bool(find_compiler())
    except NoLibrary:
        return False


def product_speed() -> float:
    """Operations a second of a large float32 product."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return float(2 * 2048**3 / best)


def report(size: str) -> None:
    K, batch, D, H, C, p = SIZES[size]
    operations = 2 * batch * (2 * D * H + 3 * H * H + 3 * H * C)  # no gradient of the input is asked for
    data = Resident((torch.randn(ROWS, D),), torch.randint(C, (ROWS,)))
    modules, copies = ([network(D, H, C, p, nn.ReLU, nn.BatchNorm1d) for _ in range(K)] for _ in range(2))
    steps = max(4, round(1e10 / operations / K))
    calls: dict[str, Call | None] = {
        "plain": (plain(modules[0], data, batch), 1),
        "fused": (fused(modules[0], data, batch), 1),
        "loader": loader(modules[0], data, batch),
        "torch.compile": (fused(modules[0], data, batch, compiled=True), 1) if has_compiler() else None,
        "jax": jax_steps(K, data, batch, (D, H, C), p, steps),
        "lockstep": lockstep_steps(K, data, batch, copies),
    }
    costs = {name: float("inf") for name, call in calls.items() if call}
    speed = 0.0
    for _ in range(ROUNDS):
        speed = max(speed, product_speed())
        for name, call in calls.items():
            if call is not None:
                until = time.perf_counter() + A_TURN
                while (began := time.perf_counter()) < until:
                    call[0]()
                    costs[name] = min(costs[name], 1e6 * (time.perf_counter() - began) / call[1])
    costs["floor"] = 1e6 * operations / speed
    own = costs["lockstep"]
    print(f"{size}  " + "  ".join(f"{name} {cost:,.0f}" for name, cost in costs.items()))
    ratios = ", ".join(
        f"{cost / own:.1f} × {name}" for name, cost in costs.items() if name not in ("lockstep", "floor")
    )
    print(
        f"    lockstep: {ratios}; {own / costs['floor']:.1f} times the floor (a product has {speed / 1e9:.0f} GFLOP/s)"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; µs per member and step")
    for chosen in sys.argv[1:] or SIZES:
        report(chosen)
