"""Offset of each col's converter: outputs at zero input, trimmed first, the rest digital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from hil.calibration.base import (
    Array,
    BoolArray,
    Judgement,
    Measurement,
    Seen,
    Setup,
    Stimulus,
    Values,
)
from hil.calibration.search import BinarySearch, Knob, KnobPlace, LinearSolve, Search
from hil.errors import RequestError
from hil.info import Capability, CoreInfo

if TYPE_CHECKING:
    from hil.info import MvmMode

__all__ = ["AdcOffset"]


@dataclass(frozen=True, kw_only=True)
class AdcOffset(Measurement):
    """Offset per col, in output codes: corrected code = code - `offset`.

    Parameters of the record: `offset_trim` (register codes, where the core has the register) and
    `offset` (what the register leaves, code). Calibrate the gain before: it scales the offset.

    Attributes:
        vectors: Readings averaged per trial.
        mode: Execution mode; None is the core's fastest.
        output_range: Range to measure in; None keeps the core's.
        tolerance_codes: Largest offset left after both corrections that counts as success.
    """

    kind = "adc_offset"
    depends_on = ("output_range", "gain_trim")
    prerequisites = ("adc_gain",)
    vectors: int = 256
    mode: MvmMode | None = None
    output_range: int | None = None
    tolerance_codes: float = 0.5

    def __post_init__(self) -> None:
        if self.vectors < 1:
            raise RequestError(f"vectors {self.vectors} is below 1")

    @override
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        codes = info.output_codes
        digital = Knob(name="offset", unit="code", low=codes.min_code, high=codes.max_code)
        if Capability.OFFSET_TRIM not in info.capabilities or info.offset_trim is None:
            return (digital,)
        return (Knob.register("offset_trim", info.offset_trim), digital)

    @override
    def instances(self, info: CoreInfo) -> int:
        return info.cols

    @override
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        zero = np.zeros((self.vectors, setup.info.rows), setup.info.input.dtype)
        return Stimulus(input_codes=zero, mode=self.mode)

    @override
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        offset: Array = seen.codes.mean(axis=0)
        return offset if knob == "offset_trim" else values["offset"] - offset

    @override
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        left = seen.codes.mean(axis=0) - values["offset"]
        success = (np.abs(left) <= self.tolerance_codes) & ~seen.saturated.any(axis=0)
        return Judgement(
            residual=left,
            unit="code",
            success=success,
            extra={"offset_before": (first.codes.mean(axis=0), "code")},
        )

    @override
    def wanted_range(self) -> int | None:
        return self.output_range

    @override
    def search(self, knob: Knob) -> Search[Any]:
        return BinarySearch() if knob.place is KnobPlace.REGISTER else LinearSolve()
