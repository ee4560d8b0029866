"""What a benchmark ran on, and threads of torch for the length of a block. Knows no chip."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

__all__ = ["Machine", "torch_threads"]


class Machine(BaseModel):
    """Processor, cores this process may use, and versions; torch_threads is torch's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    cpus: int
    torch_threads: int
    torch: str
    numpy: str
    python: str

    @classmethod
    def here(cls) -> Machine:
        """Describe the machine this process runs on."""
        return cls(
            processor=_processor(),
            cpus=_cpus(),
            torch_threads=torch.get_num_threads(),
            torch=str(torch.__version__),
            numpy=np.__version__,
            python=platform.python_version(),
        )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute on `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line)
    return next(named, platform.machine())
