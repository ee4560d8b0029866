"""The ideal array: integer conductances, exact integer products. For tests of everything above.

A device holds an integer 0...127; a RESET pulse of amplitude code a sets it to 127 - a exactly, a
full SET to 127, a short SET adds one. No noise, no drift, no mismatch, no randomness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from hil.core import CoreSettings, Window
from hil.info import Direction, MvmMode, PulseFamily
from sim_backend.snapshot import Snapshot

if TYPE_CHECKING:
    from hil.core import CellRead, MvmRequest, Pulse
    from hil.info import CoreInfo

__all__ = ["LEVELS", "IdealArray"]

LEVELS = 127
"""Highest conductance code of an ideal device."""

KELVIN = 300.0
"""Temperature of a chip that has no temperature effects."""

Codes = np.ndarray[tuple[int, ...], np.dtype[np.signedinteger]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class IdealArray:
    """Integer devices of one core."""

    def __init__(self, info: CoreInfo) -> None:
        self._info = info
        self._codes = np.zeros((info.devices_per_cell, info.rows, info.cols), np.int64)
        self._settings = CoreSettings(output_range=0, temperature_kelvin=KELVIN)

    @property
    def settings(self) -> CoreSettings:
        """Settings in force: one range, no trims."""
        return self._settings

    def configure(self, new: CoreSettings) -> None:
        """Accept what the checks have passed: there is one range and nothing to trim."""

    def snapshot(self) -> Snapshot:
        """The integers."""
        return Snapshot(tensors={"codes": torch.from_numpy(self._codes.copy())})

    def restore(self, kept: Snapshot) -> None:
        """Take over integers; RecordError if they are of another kind of array."""
        self._codes = kept.tensor("codes", torch.from_numpy(self._codes)).numpy().copy()

    def program(self, pulse: Pulse, at_s: npt.NDArray[np.float64]) -> None:
        """Overwrite (RESET), fill (full SET) or increment (short SET) integer states."""
        place = (pulse.device, pulse.rows, pulse.cols)
        if pulse.family is PulseFamily.RESET:
            self._codes[place] = LEVELS - pulse.amplitude.astype(np.int64)
            return
        limits = self._info.limits(PulseFamily.SET)
        full = limits.full_width_code if limits is not None else None
        stepped = np.minimum(self._codes[place] + pulse.count, LEVELS)
        self._codes[place] = np.where(full is not None and pulse.width >= full, LEVELS, stepped)

    def read(self, request: CellRead, now_s: float) -> tuple[Codes, Mask]:
        """Return the integers."""
        codes = self._codes[request.device, request.rows, request.cols].astype(np.int16)
        return codes, np.zeros(codes.shape, np.bool_)

    def mvm(self, request: MvmRequest, now_s: float) -> tuple[Codes, Mask]:
        """Multiply exactly: every product and sum is an integer below 2^53, held in float64."""
        w = request.window or Window(row=0, col=0, rows=self._info.rows, cols=self._info.cols)
        half = self._info.devices_per_polarity
        if request.mode is MvmMode.REFERENCE:
            net = np.full((w.rows, w.cols), half * LEVELS, np.int64)
        else:
            block = self._codes[:, w.row : w.row + w.rows, w.col : w.col + w.cols]
            net = block[:half].sum(0) - block[half:].sum(0)
        if request.direction is Direction.TRANSPOSED:
            net = net.T
        x = torch.from_numpy(request.input_codes.astype(np.float64))
        exact = (x @ torch.from_numpy(np.ascontiguousarray(net, np.float64))).numpy()
        high = self._info.output_codes.max_code
        saturated = np.abs(exact) > high
        return np.clip(exact, -high, high).astype(np.int32), saturated
