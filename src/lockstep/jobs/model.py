"""A trained population as one predictor: raw rows in, every member's predictions and their average out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lockstep.data import Schema, blank
from lockstep.engine.forward import Lifted
from lockstep.errors import RunError
from lockstep.evaluation import Combination, average
from lockstep.network.build import Network, build
from lockstep.network.heads import loss_for, to_prediction
from lockstep.network.preprocess import DataShape, ImageShape, SeriesShape, TableShape, TextShape, WindowShape
from lockstep.spec import FitSpec

Floats = NDArray[np.float64]
PREDICTED_AT_ONCE = 65_536  # rows: every member's predictions are held for so many at a time


def best_candidate(history: pl.DataFrame) -> int:
    """The candidate whose members have the lowest validation loss, each at its own best, on average.

    One with a member that never had a loss comes after those without, and none counts that was halved.
    """
    loss = pl.col("valid_loss").fill_nan(None)
    if "ended" in history.columns:  # not in what older versions wrote
        history = history.filter(~(pl.col("ended") == "halved").any().over("candidate"))
    each = history.group_by("candidate", "member").agg(loss.min())
    ranked = each.group_by("candidate").agg(
        failed=pl.col("valid_loss").is_null().sum(), mean=pl.col("valid_loss").mean()
    )
    return int(ranked.sort("failed", "mean", "candidate", nulls_last=True)["candidate"][0])


@dataclass(frozen=True, eq=False)
class Model:
    """The networks of a run, by member index, and how to read what they say: by the loss that each was trained on.

    They are one model by their average or, where there is a ``combination``, by that of the averages of ``models``.
    """

    schema: Schema
    losses: dict[int, str]
    networks: dict[int, Network]
    device: torch.device
    models: tuple[tuple[int, ...], ...] = ()
    combination: Combination | None = None

    @cached_property
    def lifted(self) -> Lifted:
        return Lifted(list(self.networks.values()), self.device)

    def only(self, members: Sequence[int]) -> "Model":
        """The model of the given members alone; itself where these are all."""
        if list(members) == list(self.networks):
            return self
        networks = {index: self.networks[index] for index in members}
        return replace(self, networks=networks, models=(), combination=None)

    def combined(self, models: tuple[tuple[int, ...], ...], combination: Combination) -> "Model":
        """The model of the same networks by another combination."""
        return replace(self, models=models, combination=combination)

    def together(self, predictions: Floats, asked: NDArray[np.bool_] | None = None) -> Floats:
        """What the networks say as one, given what each of them says ``[K, N, …]``.

        ``asked`` ``[K, N]`` are those whose word counts on each row, at least one of each of ``models``; all unless
        given.
        """
        if self.combination is None:
            return average_of(predictions, asked)
        place = {member: position for position, member in enumerate(self.networks)}
        groups = [[place[member] for member in members] for members in self.models]
        each = [average_of(predictions[own], None if asked is None else asked[own]) for own in groups]
        return self.combination(np.stack(each))

    def member_predictions(self, inputs: Sequence[NDArray[Any]]) -> Floats:
        """Every member's probabilities ``[K, N, C]``, numbers ``[K, N]`` or forecasts ``[K, N, C, H]``."""
        kinds = dict.fromkeys(self.losses[member] for member in self.networks)
        if len(kinds) > 1:  # heads of different losses have outputs of different shapes, and predictions of one
            return self.by_loss(inputs, list(kinds))
        if self.schema.kind == "forecast":
            return self.lifted.outputs(inputs).astype(np.float64)
        prediction = to_prediction(next(iter(kinds)), self.lifted.outputs(inputs))
        return prediction if self.schema.classes else prediction + target_offset(self.schema)

    def by_loss(self, inputs: Sequence[NDArray[Any]], losses: Sequence[str]) -> Floats:
        found: dict[int, Floats] = {}
        for loss in losses:
            ours = [member for member in self.networks if self.losses[member] == loss]
            found |= dict(zip(ours, self.only(ours).member_predictions(inputs), strict=True))
        return np.stack([found[member] for member in self.networks])

    def predict(self, inputs: Sequence[NDArray[Any]]) -> Floats:
        """The ensemble's prediction, ``[N, C]``, ``[N]`` or ``[N, C, H]``."""
        starts = range(0, max(len(inputs[0]), 1), PREDICTED_AT_ONCE)
        parts = [[x[start : start + PREDICTED_AT_ONCE] for x in inputs] for start in starts]
        return np.concatenate([self.together(self.member_predictions(part)) for part in parts])


def average_of(predictions: Floats, asked: NDArray[np.bool_] | None) -> Floats:
    """Each row's mean ``[N, …]`` over those of its predictions ``[K, N, …]`` that are ``asked`` ``[K, N]`` for."""
    if asked is None:
        return average(predictions)
    share = asked / asked.sum(axis=0)
    return np.asarray(np.einsum("kn...,kn->n...", predictions, share))


def target_offset(schema: Schema) -> float:
    """What is taken off a regression's target in float64 before float32 sees it, and put back afterwards."""
    return schema.target_column.offset if schema.target_column else 0.0


def data_shape(schema: Schema) -> DataShape:
    """What all networks on this data share. A number column that ever misses a value gets one input that says so."""
    if schema.kind == "images":
        return ImageShape(schema.image_shape or ())
    if schema.kind == "series":
        gaps = [place for place, column in enumerate(schema.used_columns) if column.missing > 0]
        return SeriesShape(schema.steps, len(schema.used_columns), np.array(gaps, dtype=np.int64))
    if schema.vocabulary is not None:
        return TextShape(schema.vocabulary.steps, schema.vocabulary.size, schema.vocabulary.spelling)
    if schema.forecast is not None:
        return WindowShape(len(schema.columns), schema.forecast.context, schema.forecast.horizon)
    columns = schema.number_columns
    first = {name: columns.index(name) for name in dict.fromkeys(columns)}
    gaps = [place for name, place in first.items() if schema.column(name).missing > 0]
    distinct = tuple(schema.column(name).distinct for name in columns)
    return TableShape(schema.cardinalities, distinct, np.array(gaps, dtype=np.int64))


def load_network(spec: FitSpec, schema: Schema, weights: dict[str, NDArray[Any]], member: int) -> Network:
    """The network that a spec and a schema describe, filled with stored weights. Raises ``RunError`` if they differ."""
    with torch.random.fork_rng(devices=[]):
        network = build(
            spec,
            loss_for(schema.task, spec.loss.name),
            len(schema.classes),
            data_shape(schema),
            blank(schema),
            np.zeros(1),
        )
    try:
        network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"The weights of member {member} must fit spec.toml and schema.json, however: {reason}. "
            "One of the files was changed; copy the run again, or train again."
        ) from None
    return network.eval()
