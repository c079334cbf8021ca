"""The step in C++, compiled for the CPU at hand on first use: chains of layers, many steps at once, and layers of the
families, each as one operation of autograd."""

from lockstep.engine.native.asking import by_made_layers, native_outputs
from lockstep.engine.native.forms import fused_stack, no_kernels
from lockstep.engine.native.program import refusal
from lockstep.engine.native.runner import native_runner
from lockstep.engine.native.toolchain import NoLibrary, is_made, library

__all__ = [
    "NoLibrary",
    "by_made_layers",
    "fused_stack",
    "is_made",
    "library",
    "native_outputs",
    "native_runner",
    "no_kernels",
    "refusal",
]
