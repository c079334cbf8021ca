"""Who the members are, as the manifest and the history tell it, and how a reader names them."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lockstep.report import format as fmt
from lockstep.report.files import Json, RunFiles


def population(run: RunFiles) -> list[Json]:
    """The members as the manifest lists them; where it does not, as the history shows them."""
    listed = (run.manifest.get("population") or {}).get("members") or []
    if listed or run.history is None:
        return [dict(member) for member in listed]
    columns = [name for name in ("member", "candidate", "fold", "seed") if name in run.history.columns]
    return run.history.select(columns).unique("member", maintain_order=True).to_dicts()


def with_history(members: list[Json], table: pl.DataFrame | None) -> list[Json]:
    """The members with best epoch and epochs trained filled in from the history where the manifest lacks them."""
    if table is None:
        return members
    facts: dict[int, Json] = {}
    for (member,), part in table.group_by("member"):
        fact: Json = {"epochs": part["epoch"].max()}
        if "valid_loss" in part.columns:
            finite = part.filter(pl.col("valid_loss").cast(pl.Float64).is_finite())
            if finite.height:
                fact["best_epoch"] = finite.sort("valid_loss", "epoch")["epoch"][0]
        facts[int(str(member))] = fact
    return [
        {**facts.get(member.get("member", -1), {}), **{k: v for k, v in member.items() if v is not None}}
        for member in members
    ]


def who(member: Json) -> str:
    """``"network 3 (fold 3, seed 0)"``."""
    return f"network {member.get('member')} (fold {member.get('fold', 0)}, seed {member.get('seed', 0)})"


def label_candidates(members: list[Json], compared: Mapping[int, str] | None = None) -> list[Json]:
    """The members with a ``label``: what their candidate chose where candidates differ, ``"lr=0.001, hidden=256×256"``.

    Settings keep as much of their dotted path as tells them apart. Empty where nothing varies. ``compared`` are the
    names that the comparison has for candidates.
    """
    values: dict[str, list[str]] = {}
    for member in members:
        for key, value in (member.get("choices") or {}).items():
            values.setdefault(key, []).append(_choice(value))
    varied = [key for key, seen in values.items() if len(set(seen)) > 1 or len(seen) < len(members)]
    last = [key.rpartition(".")[2] for key in varied]
    short = {key: name if last.count(name) == 1 else key for key, name in zip(varied, last, strict=True)}
    known = compared or {}
    if members and all(member.get("candidate") in known for member in members):
        return [{**member, "label": known[member["candidate"]]} for member in members]
    return [
        {**member, "label": fmt.label(", ".join(f"{short[k]}={_choice(v)}" for k, v in chosen.items() if k in short))}
        for member, chosen in ((m, m.get("choices") or {}) for m in members)
    ]


def _choice(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(str, value))
    return fmt.number(value) if isinstance(value, float) else str(value)
