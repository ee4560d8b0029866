"""MVMs of a block in siemens: chunks of `max_batch`, output range by prediction. No algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from hil.core import CoreSettings, MvmRequest, Window

if TYPE_CHECKING:
    from hil.core import Core
    from hil.info import CoreInfo, MvmMode

__all__ = [
    "BlockMvm",
    "CodeMvm",
    "choose_output_range",
    "exact_output",
    "measure_codes",
    "measure_mvm",
    "whole",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockMvm:
    """Measured outputs of a block: siemens (batch, cols), saturated (batch, cols), end time s."""

    siemens: Array
    saturated: npt.NDArray[np.bool_]
    at_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeMvm:
    """Measured outputs of a block: codes (batch, cols) of `step_siemens`, saturated, end time s."""

    codes: IntArray
    step_siemens: float
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


def measure_codes(
    core: Core,
    input_codes: IntArray,
    *,
    window: Window | None = None,
    output_range: int | None = None,
    mode: MvmMode | None = None,
) -> CodeMvm:
    """Run a batch of any length in chunks of `max_batch` and return output codes.

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
    batch = input_codes.shape[0]
    if batch == 0:
        shape = (0, (window or whole(info)).cols)
        return CodeMvm(
            codes=np.empty(shape, info.output_codes.dtype),
            step_siemens=step,
            saturated=np.empty(shape, np.bool_),
            at_s=core.now_s(),
        )
    results = [
        core.mvm(
            MvmRequest(
                input_codes=input_codes[start : start + info.max_batch], window=window, mode=mode
            )
        )
        for start in range(0, batch, info.max_batch)
    ]
    return CodeMvm(
        codes=_joined([r.output_codes for r in results]),
        step_siemens=step,
        saturated=_joined([r.saturated for r in results]),
        at_s=results[-1].at_s,
    )


def measure_mvm(
    core: Core,
    input_codes: IntArray,
    *,
    window: Window | None = None,
    output_range: int | None = None,
    mode: MvmMode | None = None,
) -> BlockMvm:
    """Run a batch of any length and return outputs in siemens; arguments as `measure_codes`."""
    seen = measure_codes(core, input_codes, window=window, output_range=output_range, mode=mode)
    siemens = seen.codes.astype(np.float64)
    siemens *= seen.step_siemens
    return BlockMvm(siemens=siemens, saturated=seen.saturated, at_s=seen.at_s)


def _joined(parts: list[npt.NDArray[T]]) -> npt.NDArray[T]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
