"""The digital correction of a block's outputs, read from calibration records. Knows no core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hil.calibration import CalibrationRecord, ColumnAffine
from hil.metrics import AffineFit

__all__ = ["Correction"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Correction:
    """Affine per col and output range, then the drift factor.

    Attributes:
        affine: Records of `ColumnAffine` by output range. Empty: no affine correction.
        drift: Record of `DriftScale`; None: no drift factor.
    """

    affine: Mapping[int, CalibrationRecord] = field(default_factory=dict)
    drift: CalibrationRecord | None = None

    @cached_property
    def fits(self) -> dict[int, AffineFit]:
        """Affine correction by output range."""
        return {k: ColumnAffine.correction(record) for k, record in self.affine.items()}

    @cached_property
    def drift_scale(self) -> Array:
        """Factor that undoes drift, (1,) or (cols,).

        A col whose factor is not to be trusted takes the median of the others, 1 if there is none.
        """
        if self.drift is None:
            return np.ones(1)
        scale, good = self.drift.array("scale"), self.drift.success_mask
        otherwise = float(np.median(scale[good])) if good.any() else 1.0
        return np.where(good, scale, otherwise)

    @property
    def records(self) -> tuple[CalibrationRecord, ...]:
        """Every record in force."""
        drift = () if self.drift is None else (self.drift,)
        return (*self.affine.values(), *drift)

    def line(self, output_range: int) -> tuple[Array, Array]:
        """Return scale and offset, S, that correct outputs measured in `output_range`.

        Both (1,) or (cols,): corrected = scale * measured + offset, which is `apply` in one step.
        """
        scale, offset = self.drift_scale, np.zeros(1)
        fit = self.fits.get(output_range)
        return (scale, offset) if fit is None else (scale * fit.scale, scale * fit.offset)

    def apply(self, siemens: Array, output_range: int) -> Array:
        """Return corrected outputs (batch, cols), S, that were measured in `output_range`."""
        fit = self.fits.get(output_range)
        corrected = siemens.copy() if fit is None else fit.apply(siemens)
        if self.drift is not None:
            corrected *= self.drift_scale
        return corrected
