"""Convolutional networks as data, for images and along the time of sequences."""

from typing import Literal

from pydantic import Field

from lockstep.spec.base import Frozen, rule
from lockstep.spec.network.parts import Activation, Groups, Init, Norm, Rate, Slope, Widths


class Augment(Frozen):
    """How images are changed while training, each time anew: ``flip`` left to right for half of them, ``shift`` by up
    to so many pixels each way, ``cutout`` of a square with that side (DeVries and Taylor 2017)."""

    flip: bool = False
    shift: int = Field(default=0, ge=0)
    cutout: int = Field(default=0, ge=0)


class Cnn(Frozen):
    """A convolutional network over images, or along the steps of a series or a text.

    ``layout``: ``stages`` come one after another, each with ``convs`` convolutions of ``channels`` channels (one entry
    per stage) and a maximum over ``pool`` steps or pixels each way at its end (1: none); ``parallel`` has one stage
    with a branch per kernel width, side by side (Kim 2014; sequences only). ``kernel``: one width for all stages, or
    one per stage or branch. ``residual`` puts a path around each stage (He et al. 2016). ``pooling`` makes features of
    what the last stage leaves: ``mean``, ``max`` or both over all places, or ``flatten`` (images only).
    """

    family: Literal["cnn"] = "cnn"
    layout: Literal["stages", "parallel"] = "stages"
    channels: Widths = (32, 64)
    convs: int = Field(default=1, ge=1)
    kernel: Widths = (3,)
    residual: bool = False
    activation: Activation = "relu"
    slope: Slope = 0.01
    norm: Norm = "batch"
    groups: Groups = None
    pool: int = Field(default=2, ge=1)
    pooling: Literal["mean", "max", "mean_max", "flatten"] = "mean"
    dropout: Rate = 0.0
    init: Init = "torch"
    augment: Augment = Augment()

    @property
    def kernels(self) -> tuple[int, ...]:
        """The kernel width of each stage, or of each branch."""
        alike = self.layout == "stages" and len(self.kernel) == 1
        return self.kernel * len(self.channels) if alike else self.kernel

    @rule
    def _something_to_convolve(self) -> None:
        if not self.channels or not self.kernel:
            empty = "kernel" if self.channels else "channels"
            raise ValueError(f"A cnn needs channels and kernels, however: {empty} is empty. Set model.{empty}.")

    @rule
    def _a_kernel_for_each_stage(self) -> None:
        if len(self.kernels) != len(self.channels) and self.layout == "stages":
            raise ValueError(
                "kernel must be one width for all stages or one for each, however: "
                f"{len(self.kernel)} widths, {len(self.channels)} stages. Set model.kernel."
            )
        if len(self.channels) > 1 and self.layout == "parallel":
            raise ValueError(
                "Parallel branches share one number of channels, however: "
                f"channels={self.channels}. Set model.channels to one number."
            )

    @rule
    def _branches_stand_alone(self) -> None:
        given = [name for name, odd in (("residual", self.residual), ("convs", self.convs > 1)) if odd]
        if given and self.layout == "parallel":
            raise ValueError(
                f"Parallel branches are one convolution each, however: {given[0]}={getattr(self, given[0])}. "
                "Set model.layout=stages for deeper networks."
            )
