"""The flags that several verbs share. Their names and meaning are those of the keywords of ``lockstep.fit``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lockstep.errors import SpecError

_DATA, _TRAINING, _RUN = "Data", "Training", "Run"

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="csv, tsv, parquet, npz, IDX, .ts, a folder of pictures by class, or sklearn:NAME",
        show_default=False,
    ),
]
Target = Annotated[str | None, typer.Option(help="The column to predict.", rich_help_panel=_DATA)]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The file has no header line.", rich_help_panel=_DATA)]
Valid = Annotated[
    str | None, typer.Option(metavar="FILE", help="Validation rows instead of folds.", rich_help_panel=_DATA)
]
Test = Annotated[str | None, typer.Option(metavar="FILE", help="Test rows of their own.", rich_help_panel=_DATA)]
TestSize = Annotated[
    float | None,
    typer.Option(
        metavar="F", help="The share set aside as test rows; 0 for none. (default: 0.2)", rich_help_panel=_DATA
    ),
]
Recipe = Annotated[str | None, typer.Option(help="See: lockstep recipes. (default: mlp)", rich_help_panel=_TRAINING)]
Spec = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A spec: TOML, YAML or JSON.", rich_help_panel=_TRAINING)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting: optimizer.lr=3e-3", rich_help_panel=_TRAINING),
]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="KEY=A,B,C",
        help="Values to compare: activation=relu,gelu, optimizer=sgd,adamw, hidden=256x256,512, lr=log:1e-4:1e-1:7.",
        rich_help_panel=_TRAINING,
    ),
]
Folds = Annotated[
    int | None, typer.Option(help="Folds of the cross-validation. (default: 5)", rich_help_panel=_TRAINING)
]
Seeds = Annotated[int | None, typer.Option(help="Networks per fold. (default: 1)", rich_help_panel=_TRAINING)]
Seed = Annotated[int | None, typer.Option(help="The first seed. (default: 0)", rich_help_panel=_TRAINING)]
Members = Annotated[
    str | None, typer.Option(metavar="3,7", help="Train just these networks.", rich_help_panel=_TRAINING)
]
Halve = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="The best of N candidates go on, again and again. (default: all)", rich_help_panel=_TRAINING
    ),
]
Epochs = Annotated[int | None, typer.Option(help="At most this many.", rich_help_panel=_TRAINING)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_RUN)]
Executor = Annotated[
    str, typer.Option(help="auto, eager, fused, backprop, compiled or cudagraph.", rich_help_panel=_RUN)
]
Precision = Annotated[str, typer.Option(help="Of products: auto, float32, bfloat16, tf32.", rich_help_panel=_RUN)]
Threads = Annotated[int | None, typer.Option(help="Of the processor, at most.", rich_help_panel=_RUN)]
AtOnce = Annotated[int | None, typer.Option(help="Networks that train together. (default: all)", rich_help_panel=_RUN)]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The run folder. (default: runs/DATA-TIME)", rich_help_panel=_RUN)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel=_RUN)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result alone.", rich_help_panel=_RUN)]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]


def keywords(flags: Mapping[str, Any]) -> dict[str, Any]:
    """A verb's flags as the keywords of its job, but for the data: the same names, save two that are spelled there as
    Python has them. Nothing heavy is loaded for it, so that a mistake among them is said at once."""
    same = {name: value for name, value in flags.items() if name not in ("data", "no_header", "settings")}
    return same | {
        "header": False if flags["no_header"] else None,
        "set": list(flags["settings"] or ()),
        "members": parse_members(flags["members"]),
    }


def parse_members(text: str | None) -> tuple[int, ...] | None:
    """``"3,7"`` as numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SpecError(f"--members is numbers with commas between, as in 3,7, however: {text!r}.") from None
