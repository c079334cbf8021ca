"""The step in C++: chains of layers on a CPU, many steps at once, compiled for the machine at hand on first use."""

from lockstep.engine.native.program import refusal
from lockstep.engine.native.runner import native_runner
from lockstep.engine.native.toolchain import NoLibrary, library

__all__ = ["NoLibrary", "library", "native_runner", "refusal"]
