import subprocess
import sys
from pathlib import Path


def test_imports_only_go_down() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    root = Path(__file__).parents[1]
    done = subprocess.run([lint, "--no-cache"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
