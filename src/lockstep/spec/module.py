"""What a user's own function that makes a module is called with, as a piece of a spec."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import ConfigDict

from lockstep.spec.base import Frozen, Vary
from lockstep.spec.training import TrainSpec


class Arguments(Frozen):
    """Keyword arguments, any of which may be an axis. A list is a value like any other here."""

    model_config = ConfigDict(extra="allow")

    def values(self) -> dict[str, Any]:
        """What the function is called with."""
        return dict(self.model_extra or {})

    def axes(self) -> Iterator[tuple[str, Vary]]:
        yield from ((name, value) for name, value in self.values().items() if isinstance(value, Vary))

    def replace(self, path: str, value: Any) -> Self:
        return type(self)(**{**self.values(), path: value})


class ModuleSpec(TrainSpec):
    """A training whose networks a function makes from ``module``. Its axes vary slowest."""

    module: Arguments = Arguments()

    def axes(self) -> Iterator[tuple[str, Vary]]:
        found = list(super().axes())
        yield from sorted(found, key=lambda one: not one[0].startswith("module."))
