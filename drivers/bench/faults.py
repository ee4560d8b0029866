"""`hil bench faults`: both ends over a line that does everything wrong, and the laws they owe."""

from __future__ import annotations

from drivers.bench.board_faults import board_faults
from drivers.bench.link_faults import link_faults
from hil.bench.line import FaultBench
from hil.bench.machine import Machine
from hil.errors import RequestError
from hil.progress import Progress, Silent

__all__ = ["bench_faults"]

BOARD_SHARE = 0.05
"""Share of the frames that cross between the whole driver and a whole board."""
MOST_RATE = 0.2


def bench_faults(
    *, frames: int = 1_000_000, rate: float = 0.01, seed: int = 0, progress: Progress | None = None
) -> FaultBench:
    """Exchange frames that are lost, spoiled, repeated, split, held up and overtaken.

    Most of them cross between the two ends of the link alone, the rest between the driver and a
    board that also loses power.

    Args:
        frames: Frames to cross, both directions together.
        rate: Share of frames that each kind of fault strikes.
        seed: Seed of requests and faults.
        progress: Is told of the work, in frames.

    Raises:
        RequestError: The rate is outside 0...0.2: beyond it no session can be opened.
    """
    if not 0.0 <= rate <= MOST_RATE:
        raise RequestError(f"rate {rate} is outside 0...{MOST_RATE}")
    if frames < 1:
        raise RequestError(f"{frames} frames are none; ask for at least 1")
    on_board = max(1, round(BOARD_SHARE * frames))
    with (progress or Silent()).task("frames", frames) as task:
        task.say("link, core that answers at once")
        link = link_faults(max(1, frames - on_board), rate, seed, task)
        task.say("driver, board emulator, resets")
        board = board_faults(on_board, rate, seed, task)
    return FaultBench(machine=Machine.here(), rate=rate, seed=seed, parts=(link, board))
