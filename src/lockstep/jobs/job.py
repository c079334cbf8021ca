"""What is settled once the data is read: who is trained, as what, on what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lockstep.data import blank
from lockstep.engine.loop import Problem
from lockstep.engine.plan import Forced, Plan, make_plan
from lockstep.engine.population import Member, Population, make_population
from lockstep.engine.step import Resident
from lockstep.engine.tables import loss_numbers
from lockstep.engine.train import make_modules, pick_device
from lockstep.errors import SpecError
from lockstep.jobs.model import data_shape, target_offset
from lockstep.jobs.prepared import Prepared
from lockstep.network.build import Network, build, refit
from lockstep.network.heads import loss_for
from lockstep.network.losses import LOSSES
from lockstep.spec import FitSpec

AFTERWARDS = 150_000_000  # bytes, as seen: what measuring and drawing the report take, whatever the data


@dataclass(frozen=True, eq=False)
class Job:
    """A population with its fresh networks, the data on the device, and the plan.

    ``losses`` names each candidate's loss; ``problem`` says what the members of one stack are trained on.
    """

    prepared: Prepared
    population: Population
    losses: dict[int, str]
    problem: Callable[[Sequence[Member]], Problem]
    device: torch.device
    networks: list[Network]
    plan: Plan


def make_job(prepared: Prepared, forced: Forced) -> Job:
    """The population, its networks, and the data on the device."""
    spec, schema, device = prepared.spec, prepared.schema, pick_device(forced.device)
    population = make_population(spec, [(fold.train, fold.valid) for fold in prepared.splits.folds])
    losses = {member.candidate: loss_for(schema.task, member.spec.loss.name) for member in population.training}
    shape = data_shape(schema)

    target = prepared.target
    if schema.task == "regression":  # far from zero, float32 would round the target's spread away
        target = (target - target_offset(schema)).astype(np.float32)

    fitted: dict[object, Network] = {}

    def network(member: Member) -> Network:
        """Rows are fitted once, for all members that train on them and differ in nothing that they settle."""
        spec, loss, rows = member.spec, losses[member.candidate], member.train_rows
        assert isinstance(spec, FitSpec)
        same = (id(rows), spec.preprocess, spec.model, loss)
        if same in fitted:
            fresh = build(spec, loss, len(schema.classes), shape, blank(schema), np.zeros(1))
            return refit(fresh, fitted[same])
        fitted[same] = build(spec, loss, len(schema.classes), shape, prepared.inputs(rows), target[rows])
        return fitted[same]

    networks = make_modules(network, population.training)
    resident = Resident(
        tuple(torch.from_numpy(x).to(device) for x in prepared.encoded.inputs), torch.from_numpy(target).to(device)
    )

    def problem(members: Sequence[Member]) -> Problem:
        loss = losses[members[0].candidate]
        numbers = loss_numbers(
            members, networks[0], device,
            scale=None if schema.classes else spreads(prepared, members),
            class_weights=class_weights(prepared, members),
        )  # fmt: skip
        return Problem(resident, LOSSES[loss], loss, numbers, executor=forced.executor)

    plan = make_plan(forced, device, population, networks, resident, problem, afterwards=AFTERWARDS)
    return Job(prepared, population, losses, problem, device, networks, plan)


def spreads(prepared: Prepared, members: Sequence[Member]) -> NDArray[np.float64]:
    """The spread ``[K]`` of the target among each member's training rows, 1 where it is constant.

    Of a forecast ``[K, C, 1]``, each column's own.
    """
    if prepared.schema.kind == "forecast":
        return np.tile([[column.std] for column in prepared.schema.columns], (len(members), 1, 1))
    found = np.array([np.std(prepared.target[member.train_rows]) for member in members])
    return np.where(found > 0, found, 1.0)


def class_weights(prepared: Prepared, members: Sequence[Member]) -> NDArray[np.float64] | None:
    """The weights ``[K, C]`` of the classes, where any are asked for; the members share a stack, so all ask alike."""
    classes, wanted = prepared.schema.classes, members[0].spec.loss.class_weights
    if wanted is None:
        return None
    if not classes:
        raise SpecError(f"loss.class_weights need classes, however {prepared.schema.target} is a number. Unset them.")
    if wanted == "balanced":
        return np.array([balanced(prepared.target[member.train_rows], len(classes)) for member in members])
    if len(wanted) != len(classes):
        raise SpecError(
            f"loss.class_weights must hold one weight per class ({', '.join(classes)}), however: {len(wanted)} weights."
        )
    return np.tile(wanted, (len(members), 1))


def balanced(target: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """``N/(C·N_c)``: every class counts the same (King and Zeng 2001; scikit-learn's ``balanced``)."""
    counts = np.bincount(target, minlength=classes)
    return np.asarray(counts.sum() / (classes * np.maximum(counts, 1)))
