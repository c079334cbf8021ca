"""Every recipe fits every kind of data that its family takes, and refuses the others with the remedy."""

from itertools import product
from typing import Any

import pytest

from lockstep.errors import SpecError
from lockstep.network.families import make_body, wants
from lockstep.network.shapes import Flat, Grid, Sequence
from lockstep.spec import FitSpec, candidates
from lockstep.spec.recipes import RECIPES

KINDS = ["table", "images", "series", "text", "forecast"]
REFUSED = {("cnn", "table"), ("rnn", "table"), ("rnn", "images"), ("transformer", "images")}
PAIRS = sorted(product(["mlp", "cnn", "rnn", "transformer"], KINDS))


@pytest.mark.parametrize(("recipe", "kind"), [pair for pair in PAIRS if pair not in REFUSED])
@pytest.mark.parametrize("rows", [50, 5_000, 100_000])
def test_a_recipe_makes_a_network_for_the_kind(recipe: str, kind: Any, rows: int) -> None:
    spec = RECIPES[recipe].make(kind, "multiclass", rows)
    assert spec.recipe == spec.model.family == recipe
    assert candidates(spec) == [({}, spec)], "every number is filled in"
    assert FitSpec().override(spec.model_dump(mode="json")) == spec, "a stored spec is read back"
    wanted = wants(spec.model, kind)
    shape = {Flat: Flat(7), Grid: Grid(3, 28, 28), Sequence: Sequence(20, 5, ordered=kind != "table")}[wanted]
    _, width = make_body(spec.model, shape)
    assert width > 0


@pytest.mark.parametrize(("recipe", "kind"), sorted(REFUSED))
def test_a_kind_that_a_family_cannot_take_is_refused_by_recipe_and_by_family(recipe: str, kind: Any) -> None:
    with pytest.raises(SpecError, match=r"however: .*Use --recipe"):
        RECIPES[recipe].make(kind, "multiclass", 1000)
    other = RECIPES[recipe].make("series", "multiclass", 1000)
    with pytest.raises(SpecError, match=r"however: model.family=.*Use --recipe"):
        wants(other.model, kind)
