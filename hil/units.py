"""Code <-> SI scales. Knows numbers and units; does not know what a core is."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["AMPERE", "DIMENSIONLESS", "MICROSIEMENS", "SECOND", "SIEMENS", "CodeScale"]

AMPERE = "A"
SECOND = "s"
SIEMENS = "S"
DIMENSIONLESS = "1"
MICROSIEMENS = 1e-6
"""One µS in S."""


class CodeScale(BaseModel):
    """A converter's scale: value = offset + step * code, min_code <= code <= max_code.

    Attributes:
        min_code, max_code: Lowest and highest code, both valid.
        step: SI units per code.
        offset: SI value of code 0.
        unit: SI unit of the value ("1" for a fraction of full scale).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_code: int
    max_code: int
    step: float
    unit: str
    offset: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_code <= self.min_code:
            raise ValueError(f"max_code {self.max_code} is not above min_code {self.min_code}")
        if not (np.isfinite(self.step) and self.step > 0):
            raise ValueError(f"step {self.step} is not a positive number")
        return self

    @property
    def bits(self) -> int:
        """Bits that hold every code (a sign counts as one bit)."""
        return int(np.ceil(np.log2(self.max_code - self.min_code + 1)))

    @property
    def dtype(self) -> np.dtype[np.signedinteger]:
        """Narrowest of int16 and int32 that holds every code."""
        limit = np.iinfo(np.int16)
        fits = limit.min <= self.min_code and self.max_code <= limit.max
        return np.dtype(np.int16 if fits else np.int32)

    def to_si(self, codes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Convert codes to SI values, float64, same shape."""
        return self.offset + self.step * np.asarray(codes, dtype=np.float64)

    def to_codes(self, values: npt.ArrayLike) -> npt.NDArray[np.signedinteger]:
        """Round SI values to the nearest code, clipped to the scale; NaN is an error."""
        raw = (np.asarray(values, dtype=np.float64) - self.offset) / self.step
        if np.isnan(raw).any():
            raise ValueError("a value is NaN; give finite numbers")
        return np.clip(np.rint(raw), self.min_code, self.max_code).astype(self.dtype)
