import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import lockstep
from lockstep.jobs.assess import IMPORTANCE_NETWORKS, asked
from lockstep.jobs.model import Model


@dataclass(frozen=True, eq=False)
class Times(Model):
    """Network ``m`` predicts ``m`` times the row; ``rows`` counts those that each network was asked about."""

    rows: dict[int, int] = field(default_factory=dict)

    def member_predictions(self, inputs: Any) -> Any:
        for member in self.networks:
            self.rows[member] = self.rows.get(member, 0) + len(inputs[0])
        return np.stack([member * inputs[0] for member in self.networks])


@pytest.mark.parametrize("wide", [(), (3,)])
def test_networks_are_asked_only_about_the_rows_on_which_their_word_counts(wide: tuple[int, ...], rng: Any) -> None:
    networks: dict[int, Any] = dict.fromkeys((7, 2, 5, 11, 4))
    model = Times(None, dict.fromkeys(networks, "mse"), networks, torch.device("cpu"))  # type: ignore[arg-type]
    own = np.zeros((5, 40), dtype=np.bool_)  # 7 and 5 count on the same rows, 4 on none
    own[0] = own[2] = rng.random(40) < 0.5
    own[1] = ~own[0]
    own[3] = rng.random(40) < 0.3
    x = rng.normal(size=(40, *wide))
    found = asked(model, own)([x])
    assert model.rows == {member: own[place].sum() for place, member in enumerate(networks) if own[place].any()}
    for row in range(40):
        says = np.mean([member for place, member in enumerate(networks) if own[place, row]])
        np.testing.assert_allclose(found[row], says * x[row], rtol=1e-12)


def test_networks_that_all_count_are_asked_together(rng: Any) -> None:
    model = Times(None, {1: "mse", 3: "mse"}, {1: None, 3: None}, torch.device("cpu"))  # type: ignore[arg-type, dict-item]
    x = rng.normal(size=20)
    np.testing.assert_allclose(asked(model, np.ones((2, 20), dtype=np.bool_))([x]), 2 * x, rtol=1e-12)
    assert model.rows == {1: 20, 3: 20}


def test_of_a_large_ensemble_a_few_networks_say_what_columns_are_worth(tmp_path: Any, rng: Any) -> None:
    x = rng.normal(size=(300, 3)).astype(np.float32)
    run = lockstep.fit(
        x, (x[:, 0] > 0).astype(int), folds=3, seeds=4, epochs=3, out=tmp_path / "run", quiet=True,
        set={"model.hidden": [8], "training.batch_size": 32},
    )  # fmt: skip
    found = json.loads((run.path / "analysis.json").read_text())["importance"]
    assert found["networks"] == IMPORTANCE_NETWORKS
    assert found["features"][0]["name"] == "x0"
    assert f"{IMPORTANCE_NETWORKS} of the networks were asked" in run.report_path.read_text()
