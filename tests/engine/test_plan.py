"""The plan: what is settled for a run, why, and that all of it can be forced."""

import mmap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planned import Setting
from torch import nn

import lockstep
from lockstep.engine import machine, plan
from lockstep.engine.living import Living
from lockstep.engine.memory import Needs, in_words, needs_of
from lockstep.engine.native import NoLibrary, is_made
from lockstep.engine.step import Resident
from lockstep.engine.train import Way
from lockstep.errors import SpecError

CPU = torch.device("cpu")
Rng = np.random.Generator


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 3))


def setting_of(rng: Rng, make: Callable[[], nn.Module] = chain, K: int = 5) -> Setting:
    x = torch.from_numpy(rng.normal(size=(60, 6)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 3, 60))
    return Setting(make, x, y, "cross_entropy", K=K, epochs=2, batch_size=8, train=40)


def values(made: plan.Plan) -> dict[str, str]:
    return {choice.choice: choice.value for choice in made.choices}


def reasons(made: plan.Plan) -> dict[str, str]:
    return {choice.choice: choice.reason for choice in made.choices}


@pytest.fixture
def has_compiler() -> None:
    try:
        is_made(torch.float32, "train")
    except NoLibrary as reason:
        pytest.skip(str(reason))


def test_each_choice_can_be_forced_and_then_says_so(rng: Rng) -> None:
    made = setting_of(rng).plan(device="cpu", executor="backprop", precision="float32", threads=1, at_once=2)
    assert values(made) | {"executor": "backprop", "precision": "float32", "at once": "2 of 5"} == values(made)
    for choice in ("device", "executor", "precision", "threads", "at once"):
        assert reasons(made)[choice] == "asked for"
    assert made.ways == (Way("backprop", "float32", 2),)


@pytest.mark.parametrize(
    ("forced", "says"),
    [
        ({"threads": 0}, "threads must be a whole number from 1, however: 0."),
        ({"at_once": -3}, "at_once must be a whole number from 1, however: -3."),
        ({"precision": "half"}, "precision must be auto, float32, bfloat16 or tf32, however: 'half'."),
        ({"executor": "fast"}, "executor must be auto, .*, however: 'fast'."),
        ({"precision": "tf32"}, "precision=tf32 needs a GPU of NVIDIA's, however: cpu. Take precision=float32."),
        (
            {"precision": "bfloat16", "executor": "backprop"},
            "executor=backprop needs .*, however: it has no products in bfloat16. Take executor=auto.",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_value(rng: Rng, forced: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        setting_of(rng).plan(**forced)


def test_a_precision_needs_weights_in_float32(rng: Rng) -> None:
    setting = setting_of(rng, lambda: chain().double())
    setting.data = Resident((setting.data.inputs[0].double(),), setting.data.targets)
    assert values(setting.plan())["precision"] == "float64"
    with pytest.raises(SpecError, match="precision=bfloat16 needs weights in float32, however: float64"):
        setting.plan(precision="bfloat16")


def test_products_in_bfloat16_change_a_result_a_little_and_nothing_else(rng: Rng) -> None:
    setting = setting_of(rng)
    exact = setting.train(setting.plan(executor="eager").ways)
    rounded = setting.train(setting.plan(precision="bfloat16").ways)
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        assert (one - other).norm() < 0.05 * one.norm()


def test_parts_hold_every_network_once_and_differ_by_one_in_size() -> None:
    for count in range(1, 12):
        for at_once in range(1, count + 1):
            parts = Way("eager", "float32", at_once).parts(range(count))
            assert [position for part in parts for position in part] == list(range(count))
            sizes = {len(part) for part in parts}
            assert max(sizes) <= at_once
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.usefixtures("has_compiler")
@pytest.mark.parametrize("executor", ["eager", "backprop", "compiled"])
def test_networks_trained_in_parts_end_as_they_do_together(rng: Rng, executor: str) -> None:
    setting = setting_of(rng, lambda: chain().double())
    setting.data = Resident((setting.data.inputs[0].double(),), setting.data.targets)
    seen: list[tuple[int, int]] = []
    together = setting.train([Way(executor, "float32", 5)])
    in_parts = setting.train(
        [Way(executor, "float32", 2)], observers=[lambda record: seen.append((record.stack, record.stacks))]
    )
    assert dict.fromkeys(seen) == dict.fromkeys([(1, 3), (2, 3), (3, 3)])
    for one, other in zip(together, in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_where_memory_is_short_networks_are_trained_in_parts(rng: Rng, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = setting_of(rng, K=6)
    own = replace(setting.problem([]), executor="eager")
    need = needs_of(setting.modules, setting.population.training, own)
    assert need is not None
    left = need.of(3, 6) / plan.SPARE + 100
    monkeypatch.setattr(machine, "memory_left", lambda _: int(left))
    made = setting.plan(executor="eager")
    assert values(made)["at once"] == "3 of 6"
    assert reasons(made)["at once"] == "there is not enough memory for more: the others wait their turn"
    assert in_words(int(left)) in reasons(made)["memory"]
    monkeypatch.setattr(machine, "memory_left", lambda _: 0)
    assert values(setting.plan(executor="eager"))["at once"] == "1 of 6"


def test_most_networks_at_once_are_as_many_as_there_is_room_for(rng: Rng) -> None:
    for _ in range(200):
        *sizes, networks = (int(n) for n in rng.integers(1, 100, 6))
        need = Needs(*sizes)
        left = int(rng.integers(0, need.of(networks, networks) * 2))
        most = need.most(left, networks)
        assert 1 <= most <= networks
        assert all(need.of(k, networks) > left for k in range(most + 1, networks + 1))
        assert most == 1 or need.of(most, networks) <= left


def test_living_tensors_are_counted_once_and_until_they_are_gone() -> None:
    given = torch.ones(1000)
    with Living() as living:
        given.t()  # what was there before does not count, nor do views
        a = torch.ones(2000)
        b = a.view(20, 100)
        assert (living.now, living.most) == (8000, 8000)
        del a
        assert living.now == 8000
        del b
        assert (living.now, living.most, living.largest) == (0, 8000, 8000)
        torch.ones(100)
    assert living.most == 8000


@pytest.mark.parametrize("executor", ["eager", "backprop", "compiled"])
@pytest.mark.usefixtures("has_compiler")
def test_more_networks_need_more_memory_by_what_they_pass_through_a_step(rng: Rng, executor: str) -> None:
    setting = setting_of(rng, K=4)
    own = replace(setting.problem([]), executor=executor)
    need = needs_of(setting.modules, setting.population.training, own)
    assert need is not None
    assert need.kept == sum(4 * p.numel() for p in setting.modules[0].parameters())
    assert need.holds > 6 * need.kept  # parameters, the best twice, as they were, two moments
    assert need.of(4, 4) - need.of(3, 4) >= need.holds
    before = [p.clone() for p in setting.modules[0].parameters()]
    assert all(torch.equal(p, old) for p, old in zip(setting.modules[0].parameters(), before, strict=True))


@pytest.mark.usefixtures("has_compiler")
def test_a_run_that_is_over_sooner_than_kernels_are_compiled_does_not_wait_for_them(
    rng: Rng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nothing is compiled there
    made = setting_of(rng).plan()
    assert values(made)["executor"] == "backprop"
    assert "sooner than kernels are compiled" in reasons(made)["executor"]
    assert not list(tmp_path.glob("lockstep/*.so"))


@pytest.mark.usefixtures("has_compiler")
def test_a_long_run_is_worth_a_compiler(rng: Rng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(plan, "COMPILING", 0.0)
    assert values(setting_of(rng).plan())["executor"] == "compiled"


def test_threads_are_as_before_after_a_run() -> None:
    before = torch.get_num_threads()
    with machine.on_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with machine.on_threads(None):
        assert torch.get_num_threads() == before


def test_the_memory_that_is_held_and_left_are_numbers_of_this_machine() -> None:
    held = machine.memory_held()
    assert 50e6 < held < 1e11
    block = np.frombuffer(mmap.mmap(-1, 50_000_000), dtype=np.uint8)  # fresh pages; numpy's may be an earlier test's
    block[:] = 1
    assert machine.memory_held() > held + 0.8 * block.nbytes
    left = machine.memory_left(CPU)
    assert left is None or left > 0


def test_a_plan_for_candidates_counts_them_all(rng: Rng) -> None:
    x = rng.normal(size=(80, 4)).astype(np.float32)
    choices = lockstep.plan(
        x, (x[:, 0] > 0).astype(int), vary={"optimizer.lr": [1e-3, 1e-2, 1e-1]}, folds=2, epochs=2, quiet=True
    )
    networks = next(choice["value"] for choice in choices if choice["choice"] == "networks")
    assert networks == "6 in 1 stack"
