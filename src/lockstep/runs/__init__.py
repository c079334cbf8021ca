"""The run folder: manifest, checkpoints, history, weights. Written so that a kill at any moment leaves the last
complete state; loading never runs code."""

from lockstep.runs.checkpoint import Checkpoint
from lockstep.runs.files import write_bytes
from lockstep.runs.folder import RunFolder, is_run, now, open_run
from lockstep.runs.history import SCHEMA as HISTORY_SCHEMA
from lockstep.runs.history import History, Identity
from lockstep.runs.listing import RunSummary, list_runs, summarise
from lockstep.runs.place import check_place, default_folder, reserved
from lockstep.runs.weights import Arrays, read_arrays, write_arrays

__all__ = [
    "HISTORY_SCHEMA",
    "Arrays",
    "Checkpoint",
    "History",
    "Identity",
    "RunFolder",
    "RunSummary",
    "check_place",
    "default_folder",
    "is_run",
    "list_runs",
    "now",
    "open_run",
    "read_arrays",
    "reserved",
    "summarise",
    "write_arrays",
    "write_bytes",
]
