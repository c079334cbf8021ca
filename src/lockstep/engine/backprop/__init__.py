"""Backpropagation written out for stacked perceptrons: forward with cache, the δ recursion, the gradients.

A network is a chain of layers ``h⁽ˡ⁾ = f⁽ˡ⁾(W⁽ˡ⁾h⁽ˡ⁻¹⁾ + b⁽ˡ⁾)``; each kind of layer says in its file here what goes
forward, what it keeps, and what comes back. Nothing here uses autograd.
"""

from lockstep.engine.backprop.gradients import written_gradients
from lockstep.engine.backprop.layers import NotWritten
from lockstep.engine.backprop.network import Written, written

__all__ = ["NotWritten", "Written", "written", "written_gradients"]
