import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """``real_data("adult")``: the folder of that name under ``$LOCKSTEP_DATA``; the test skips where it is not."""

    def find(name: str) -> Path:
        root = os.environ.get("LOCKSTEP_DATA")
        if not root:
            pytest.skip(f"LOCKSTEP_DATA is not set; it names the folder that holds {name}")
        path = Path(root) / name
        if not path.exists():
            pytest.skip(f"there is no {name} in {root}")
        return path

    return find
