"""The step in C++: chains of layers on a CPU, many steps at once, compiled for the machine at hand on first use."""

from lockstep.engine.native.library import NoLibrary, library
from lockstep.engine.native.program import refusal
from lockstep.engine.native.runner import native_runner

__all__ = ["NoLibrary", "library", "native_runner", "refusal"]
