"""The kernels as a library, compiled by the machine's own compiler for its own processor, and kept for the next run."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch

from lockstep.cache import cache_folder, whole, writable
from lockstep.engine.native import structures

KERNELS = Path(__file__).parent / "kernels"
FLAGS = (
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-pthread",
)
PROCESSOR = ("-march=native", "-mcpu=native", "")  # what compilers call it; none where they know neither
REALS = {torch.float32: "float", torch.float64: "double"}


class NoLibrary(Exception):  # noqa: N818  (no error: a reason)
    """Why there are no kernels on this machine."""


@cache
def library(dtype: torch.dtype, source: str = "train") -> ctypes.CDLL:
    """The kernels of one source file for numbers of ``dtype``. Raises ``NoLibrary`` with the reason."""
    command, path = recipe(dtype, source)
    if not path.exists():
        compiled(command, path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NoLibrary(
            f"the compiled kernels cannot be loaded ({error}; without {path.name} they are made anew)"
        ) from error
    structures.check(loaded, source)
    return loaded


def is_made(dtype: torch.dtype, source: str) -> bool:
    """Whether ``library`` would load what an earlier run has compiled. Raises ``NoLibrary`` with the reason."""
    return recipe(dtype, source)[1].exists()


def recipe(dtype: torch.dtype, source: str) -> tuple[list[str], Path]:
    """The command that compiles a source file, and where the library is kept. Raises ``NoLibrary``."""
    if dtype not in REALS:
        raise NoLibrary(f"the kernels are for float32 and float64, and its weights are {str(dtype)[6:]}")
    compiler = find_compiler()
    processor, macros = processor_of(compiler)
    options = (*FLAGS, *filter(None, [processor]), f"-DREAL={REALS[dtype]}")
    sources = [path.read_bytes() for path in sorted(KERNELS.iterdir())]
    name = hashlib.sha256(b"\0".join([compiler.encode(), macros, " ".join(options).encode(), *sources])).hexdigest()
    command = [compiler, *options, str(KERNELS / f"{source}.cpp")]
    try:
        folder = writable(cache_folder())
    except OSError as error:
        raise NoLibrary(f"compiled kernels cannot be kept ({error})") from error
    return command, folder / f"kernels-{source}-{name[:24]}.so"


def find_compiler() -> str:
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        if found := shutil.which(name):
            return found
    raise NoLibrary("no C++ compiler (c++, g++ or clang++) is at hand")


def processor_of(compiler: str) -> tuple[str, bytes]:
    """The option that means this processor, and all that the compiler then takes for granted about it."""
    for option in PROCESSOR:
        asked = [compiler, *filter(None, [option]), "-dM", "-E", "-x", "c++", os.devnull]
        told = run(asked)
        if told.returncode == 0:
            return option, told.stdout
    raise NoLibrary(f"the compiler {compiler} does not work ({first_line(told.stderr)})")


def compiled(command: list[str], path: Path) -> None:
    """Compile the kernels to ``path``, whole or not at all."""
    with whole(path) as unfinished:
        done = run([*command, "-o", str(unfinished)])
        if done.returncode:
            raise NoLibrary(f"the compiler {command[0]} cannot make them ({first_line(done.stderr)})")


def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise NoLibrary(f"the compiler {command[0]} cannot be run ({error})") from error


def first_line(stderr: bytes) -> str:
    return next(iter(stderr.decode(errors="replace").splitlines()), "it says nothing")
