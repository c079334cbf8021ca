"""What a run was, written down: who trained, on what, on which machine, and what was noticed."""

import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lockstep.engine.train import Trained
from lockstep.findings import Finding
from lockstep.jobs.job import Job


def manifest(job: Job, trained: Trained | None = None) -> dict[str, Any]:
    """What the run is: the content of ``manifest.json`` but for status and timing."""
    prepared, spec, population = job.prepared, job.prepared.spec, job.population
    schema = prepared.schema
    ended = {} if trained is None else dict(zip((m.index for m in trained.members), trained.finished, strict=True))
    members = [
        {
            "member": m.index, "candidate": m.candidate, "fold": m.fold, "seed": m.seed, "choices": m.choices,
            "train_rows": len(m.train_rows), "valid_rows": len(m.valid_rows),
            "best_epoch": ended[m.index].best_epoch if m.index in ended else None,
            "epochs": ended[m.index].epochs if m.index in ended else None,
            "ended": ended[m.index].ended if m.index in ended else None,
        }
        for m in population.training
    ]  # fmt: skip
    test = prepared.sources[-1].origin if len(prepared.sources) > 1 and len(prepared.splits.test) else None
    return {
        "command": " ".join(["lockstep", *sys.argv[1:]]) if Path(sys.argv[0]).name == "lockstep" else None,
        "epochs": max(m.spec.training.epochs for m in population.training),
        "epochs_done": 0,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("torch", "numpy", "polars")}},
        "machine": machine(job.device),
        "seed": spec.population.seed,
        "task": schema.task, "kind": schema.kind, "target": schema.target, "classes": list(schema.classes),
        "data": {
            "origin": prepared.sources[0].origin, "rows": len(prepared.sources[0]),
            "fingerprint": prepared.sources[0].fingerprint, "test_origin": test,
        },
        "plan": [asdict(choice) for choice in job.plan.choices],
        "splits": {
            "how": prepared.splits.how,
            "train_rows": len(np.unique(np.concatenate([np.r_[f.train, f.valid] for f in prepared.splits.folds]))),
            "test_rows": len(prepared.splits.test),
        },
        "population": {
            "candidates": population.candidates,
            "folds": len(prepared.splits.folds), "seeds": spec.population.seeds,
            "parameters": sum(p.numel() for p in job.networks[0].parameters()), "members": members,
        },
        "findings": [finding.to_dict() for finding in (*prepared.findings, *training_findings(trained))],
    }  # fmt: skip


def training_findings(trained: Trained | None) -> list[Finding]:
    """What training itself showed: members that were set aside."""
    if trained is None:
        return []
    lost = [
        (member, done.best_epoch)
        for member, done in zip(trained.members, trained.finished, strict=True)
        if done.ended == "diverged"
    ]
    return [
        Finding(
            severity="warning", code="member-diverged", subject=member.label,
            what="This network went to NaN or infinity and was set aside.",
            evidence=f"Its best epoch before that was {best}." if best else "It never had a good epoch.",
            remedy="Lower optimizer.lr, or set training.clip_norm.",
        )
        for member, best in lost
    ]  # fmt: skip


def machine(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "cpu": cpu_name(), "cores": torch.get_num_threads(), "memory_gb": memory_gb(),
        "os": f"{platform.system()} {platform.machine()}", "device": gpu,
    }  # fmt: skip


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
