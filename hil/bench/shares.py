"""Where the time of a layer-serial run goes, from one run under Python's profiler.

A part is the time inside some functions less the time inside functions of other parts that they
call. Functions are named by file and name, so that nothing in their code knows of it; those of a
back-end that was not used count as nothing.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from typing import Any

__all__ = ["PARTS", "time_shares"]

Function = tuple[str, str]
"""End of the file's path, and name."""

VERB = ("hil/core.py", "mvm")
MODEL = ("sim_backend/array.py", "mvm")
AGEING = ("sim_backend/array.py", "_conductances")
NOISE = ("sim_backend/deviates.py", "draw")
CONVERSION = ("sim_backend/converters.py", "convert")
STAGE = ("hil/inference/on_chip.py", "multiply")
IM2COL = ("hil/inference/geometry.py", "vectors")

PARTS: dict[str, tuple[tuple[Function, ...], tuple[Function, ...]]] = {
    "quantise": (
        (
            ("hil/inference/digital.py", "quantise"),
            ("hil/inference/geometry.py", "pad"),
            ("hil/inference/layer_call.py", "_beyond"),
        ),
        (),
    ),
    "im2col": ((IM2COL,), ()),
    "correction": ((STAGE,), (VERB,)),
    "verbs": ((VERB,), (MODEL,)),
    "products": ((MODEL,), (AGEING, NOISE, CONVERSION)),
    "ageing": ((AGEING,), ()),
    "noise": ((NOISE,), ()),
    "conversion": ((CONVERSION,), ()),
    "scaling": ((("hil/inference/layer_call.py", "_finish"),), ()),
}
"""Part -> functions whose time it is, and functions within them whose time it is not."""
REST = "network"
"""The part of everything else: pooling, activations, additions, and the loop itself."""


def time_shares(work: Callable[[], object]) -> dict[str, float]:
    """Do some work; return the share of each part in its time, 1 together."""
    profile = cProfile.Profile()
    profile.runcall(work)
    stats: Any = pstats.Stats(profile)
    inside: dict[Function, float] = {}
    for (path, _, name), (_, _, _, cumulative, _) in stats.stats.items():
        for function in _known():
            if name == function[1] and path.replace("\\", "/").endswith(function[0]):
                inside[function] = inside.get(function, 0.0) + cumulative
    parts = {
        part: sum(inside.get(f, 0.0) for f in own) - sum(inside.get(f, 0.0) for f in without)
        for part, (own, without) in PARTS.items()
    }
    parts[REST] = stats.total_tt - sum(parts.values())
    return {part: seconds / stats.total_tt for part, seconds in parts.items()}


def _known() -> set[Function]:
    return {f for own, without in PARTS.values() for f in (*own, *without)}
