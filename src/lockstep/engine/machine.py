"""What the machine has: memory, threads, and products of bfloat16 numbers."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # what processors with such products call them


def memory_held() -> int:
    """Bytes that this process holds now (at most so far, where the system does not say)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * resource.getpagesize()


def memory_left(device: torch.device) -> int | None:
    """Bytes that can still be had on ``device``; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # else what torch keeps of tensors that are gone counts as taken
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
    return min([left, *container_left()])


def container_left() -> Iterator[int]:
    """What the container (control group) leaves, where this process runs in one with a limit."""
    versions = ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    for limit, used in versions:
        try:
            most, now = (Path("/sys/fs/cgroup", name).read_text().strip() for name in (limit, used))
            yield max(0, int(most) - int(now))
        except (OSError, ValueError):  # no such file, or "max"
            continue


def has_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 numbers are an instruction of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in told.splitlines() if line.lower().startswith(("flags", "features"))), "")
    return not BFLOAT16.isdisjoint(flags.split())


def coarser(device: torch.device) -> tuple[str, ...]:
    """The precisions below float32 whose products ``device`` has instructions for."""
    if not has_bfloat16(device):
        return ()
    return ("tf32", "bfloat16") if device.type == "cuda" else ("bfloat16",)


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Inside, torch and the kernels work on ``count`` threads (None: on as many as they would)."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Inside, products of float32 numbers on a GPU may be rounded to tf32, if that is the ``precision``."""
    if precision != "tf32":
        yield
        return
    places = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32"
    try:
        yield
    finally:
        for place, own in zip(places, before, strict=True):
            place.fp32_precision = own
