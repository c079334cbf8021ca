import pytest
from tape import Tape, on_tape

from lockstep.engine.executors import EXECUTORS


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """The executor ``cudagraph`` works on a CPU here, by a tape in the place of a GPU's graphs."""
    tape = Tape()
    monkeypatch.setitem(EXECUTORS, "cudagraph", on_tape(tape))
    return tape
