"""A trained population as one predictor: raw rows in, every member's predictions and their average out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lockstep.data import Schema
from lockstep.engine.forward import outputs_of
from lockstep.errors import RunError
from lockstep.evaluation import average
from lockstep.network.build import Network, build
from lockstep.network.heads import loss_for, to_prediction
from lockstep.network.preprocess import TableShape
from lockstep.spec import FitSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Model:
    """The networks of a run, by member index, and how to read what they say."""

    schema: Schema
    loss: str
    networks: dict[int, Network]
    device: torch.device

    def member_predictions(self, inputs: Sequence[NDArray[Any]]) -> Floats:
        """Every member's probabilities ``[K, N, C]`` or numbers ``[K, N]`` on the encoded rows."""
        return to_prediction(self.loss, outputs_of(list(self.networks.values()), inputs, self.device))

    def predict(self, inputs: Sequence[NDArray[Any]]) -> Floats:
        """The ensemble's: the members' average, ``[N, C]`` or ``[N]``."""
        return average(self.member_predictions(inputs))


def table_shape(schema: Schema) -> TableShape:
    """What all networks on this data share. A number column that ever misses a value gets one input that says so."""
    columns = schema.number_columns
    first = {name: columns.index(name) for name in dict.fromkeys(columns)}
    gaps = [place for name, place in first.items() if schema.column(name).missing > 0]
    distinct = tuple(schema.column(name).distinct for name in columns)
    return TableShape(schema.cardinalities, distinct, np.array(gaps, dtype=np.int64))


def load_network(spec: FitSpec, schema: Schema, weights: dict[str, NDArray[Any]], member: int) -> Network:
    """The network that a spec and a schema describe, filled with stored weights. Raises ``RunError`` if they differ."""
    inputs: tuple[NDArray[Any], ...] = (np.zeros((1, *(schema.image_shape or ())), dtype=np.float32),)
    if schema.kind == "table":
        numbers = np.zeros((1, len(schema.number_names)), dtype=np.float32)
        inputs = (numbers, np.zeros((1, len(schema.cardinalities)), dtype=np.int64))
    with torch.random.fork_rng(devices=[]):
        network = build(
            spec, loss_for(schema.task, spec.loss.name), len(schema.classes), table_shape(schema), inputs, np.zeros(1)
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
