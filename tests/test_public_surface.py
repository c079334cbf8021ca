"""What ``import lockstep`` and the command's help cost, and which names there are."""

import subprocess
import sys

import pytest

import lockstep

HEAVY = {"torch", "polars", "sklearn", "numpy", "scipy", "safetensors", "jinja2", "altair", "IPython"}


def modules_after(code: str) -> set[str]:
    tail = "import sys; print('\\n', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tail}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_lockstep_loads_nothing_heavy() -> None:
    assert not HEAVY & modules_after("import lockstep; dir(lockstep); lockstep.LockstepError")


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from lockstep.cli import main\ntry: main({arguments})\nexcept SystemExit: pass"
    assert not HEAVY & modules_after(code)


def test_training_ones_own_module_loads_no_scikit_learn() -> None:
    assert not {"sklearn", "pandas"} & modules_after("import lockstep; lockstep.train")


def test_every_public_name_is_there_and_listed() -> None:
    for name in lockstep.__all__:
        assert getattr(lockstep, name) is not None
        assert name in dir(lockstep)


def test_the_names_of_the_contract_are_public() -> None:
    promised = "fit load train predict evaluate plan recipes list_runs write_report SGD Adam AdamW CosineAnnealingLR"
    promised += " Constant Vary LockstepError SpecError DataError TrainingError RunError __version__"
    assert set(promised.split()) <= set(lockstep.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        lockstep.fitt  # noqa: B018


def test_the_recipes_can_be_asked_for() -> None:
    assert [recipe.name for recipe in lockstep.recipes()] == ["perceptron", "mlp", "cnn", "rnn", "transformer"]
