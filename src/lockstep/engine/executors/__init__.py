"""Ways of running the step. Each takes the step and returns one that does the same."""

from collections.abc import Callable

from lockstep.engine.executors.eager import eager
from lockstep.engine.step import Step

EXECUTORS: dict[str, Callable[[Step], Step]] = {"eager": eager}
