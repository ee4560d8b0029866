"""MVMs of a block in siemens: chunks of `max_batch`, output range by prediction. No algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hil.core import CoreSettings, MvmRequest, Window

if TYPE_CHECKING:
    from hil.core import Core
    from hil.info import CoreInfo, MvmMode

__all__ = ["BlockMvm", "choose_output_range", "exact_output", "measure_mvm", "whole"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockMvm:
    """Measured outputs of a block: siemens (batch, cols), saturated (batch, cols), end time s."""

    siemens: Array
    saturated: npt.NDArray[np.bool_]
    at_s: float


def whole(info: CoreInfo) -> Window:
    """Return the window that is the whole array."""
    return Window(row=0, col=0, rows=info.rows, cols=info.cols)


def exact_output(info: CoreInfo, target_siemens: Array, input_codes: IntArray) -> Array:
    """Ideal outputs of the same quantised inputs, S: x @ target with x in [-1, 1]."""
    return info.input.to_si(input_codes) @ target_siemens


def choose_output_range(
    info: CoreInfo, target_siemens: Array, input_codes: IntArray, *, sigmas: float = 4.0
) -> int:
    """Return the smallest output range that holds `sigmas` standard deviations of every col.

    The prediction uses the target conductances and the inputs at hand: rms of the exact outputs
    of the widest col, plus its mean. The highest range is taken if none is wide enough.
    """
    sample = input_codes[:: max(1, input_codes.shape[0] // 256)]
    exact = exact_output(info, target_siemens, sample)
    need = float(np.max(np.abs(exact.mean(axis=0)) + sigmas * exact.std(axis=0), initial=0.0))
    for index, limit in enumerate(info.output_ranges_siemens):
        if limit >= need:
            return index
    return len(info.output_ranges_siemens) - 1


def measure_mvm(
    core: Core,
    input_codes: IntArray,
    *,
    window: Window | None = None,
    output_range: int | None = None,
    mode: MvmMode | None = None,
) -> BlockMvm:
    """Run a batch of any length in chunks of `max_batch` and return outputs in siemens.

    Args:
        core: The core; its output range is changed only if `output_range` differs from it.
        input_codes: (batch, window rows).
        window: Block of the array; None is the whole.
        output_range: Range index to set first; None keeps the core's.
        mode: Execution mode; None is the fastest.
    """
    info = core.info
    current = core.settings().output_range
    if output_range is not None and output_range != current:
        core.configure(CoreSettings(output_range=output_range))
        current = output_range
    step = info.output_step_siemens(current or 0)
    place = window or whole(info)
    batch = input_codes.shape[0]
    out = np.empty((batch, place.cols), np.float64)
    saturated = np.empty((batch, place.cols), np.bool_)
    at_s = core.now_s() if batch == 0 else 0.0
    for start in range(0, batch, info.max_batch):
        stop = min(start + info.max_batch, batch)
        result = core.mvm(MvmRequest(input_codes=input_codes[start:stop], window=window, mode=mode))
        out[start:stop] = result.output_codes  # converted, then scaled: faster than at once
        saturated[start:stop] = result.saturated
        at_s = result.at_s
    out *= step
    return BlockMvm(siemens=out, saturated=saturated, at_s=at_s)
