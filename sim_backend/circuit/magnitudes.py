"""How large the effects of the tile circuit are on random matrices. Measures; prints nothing.

The case of the reference table: weights N(0, 0.246) clipped to 1 in magnitude, one device per
polarity with the other at no conductance, inputs uniform in -1...1 of which half are zero, codes of
7 bits and sign, one pass over the full window, clamped idle devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sim_backend.circuit.linear import LinearSolver
from sim_backend.circuit.network import Drive, IdleDevices, padding, tile_network
from sim_backend.circuit.oscillator import PUBLISHED_COUNT_COULOMB, counts
from sim_backend.circuit.rapid import RapidSolver

__all__ = ["IrDrop", "adc_floor", "ir_drop_row", "random_case", "residual"]

WEIGHT_SIGMA = 0.246
"""Spread of normalised weights, clipped at 1 [reference: standard crossbar test]."""
SLOTS = 127
SWING_VOLT = 0.2


@dataclass(frozen=True, kw_only=True)
class IrDrop:
    """Error of a product by its wires, relative to the product's norm.

    Attributes:
        relative: ||y - y0|| / ||y0||.
        after_gain: The same after each col was multiplied by its best factor.
    """

    relative: float
    after_gain: float


def random_case(
    rows: int, cols: int, vectors: int, seed: int
) -> tuple[Float[Tensor, "rows cols"], Float[Tensor, "vectors rows"]]:
    """Return weights in -1...1 and signed pulse widths, slots."""
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.normal(0.0, WEIGHT_SIGMA, (rows, cols)), -1.0, 1.0)
    inputs = rng.uniform(-1.0, 1.0, (vectors, rows)) * (rng.random((vectors, rows)) >= 0.5)
    return torch.from_numpy(weights), torch.from_numpy(np.round(SLOTS * inputs))


def ir_drop_row(
    rows: int,
    g_max_siemens: float,
    ohm_per_cell: float,
    *,
    idle: IdleDevices = IdleDevices.CLAMPED,
    physical_rows: int | None = None,
    cols: int = 64,
    vectors: int = 64,
    seed: int = 0,
) -> IrDrop:
    """Measure the IR-drop of a column of `rows` cells.

    Clamped, the solution is exact. Disconnected, it is the rapid solver's in double precision.

    Args:
        rows: Rows of the layer.
        g_max_siemens: Conductance of a weight of 1, S.
        ohm_per_cell: Bit-line resistance per cell, ohm.
        idle: What becomes of devices whose input is off.
        physical_rows: Cells of the column in whose middle the layer stands; None is just the layer.
        cols, vectors, seed: How much is drawn.

    Raises:
        RequestError: The layer does not fit its physical column.
    """
    weights, widths = random_case(rows, cols, vectors, seed)
    before, behind = padding(rows, physical_rows or rows)
    placed = torch.nn.functional.pad(weights, (0, 0, before, behind)) * g_max_siemens
    solver = (
        LinearSolver(dtype=torch.float64)
        if idle is IdleDevices.CLAMPED
        else RapidSolver(dtype=torch.float64)
    )
    network = tile_network(
        placed.clamp(min=0),
        (-placed).clamp(min=0),
        ohm_per_cell=ohm_per_cell,
        drive=Drive(adc_volt=0.4),
        idle=idle,
    )
    charge = solver.prepare(network).charge(
        torch.nn.functional.pad(widths, (before, behind)), SLOTS
    )
    product = widths @ weights
    scale = g_max_siemens * SWING_VOLT * Drive().slot_s
    return residual(charge / scale, product)


def adc_floor(
    rows: int, g_max_siemens: float, *, cols: int = 64, vectors: int = 64, seed: int = 0
) -> float:
    """Relative error by the unfinished oscillation alone: ideal wires, 16 fC a count."""
    weights, widths = random_case(rows, cols, vectors, seed)
    product = widths @ weights
    per_count = PUBLISHED_COUNT_COULOMB / (g_max_siemens * SWING_VOLT * Drive().slot_s)
    return residual(counts(product / per_count) * per_count, product).relative


def residual(seen: Float[Tensor, "vectors cols"], product: Float[Tensor, "vectors cols"]) -> IrDrop:
    """Compare outputs with what they should be, before and after the best factor of each col."""
    gain = (seen * product).sum(0) / seen.square().sum(0)
    norm = torch.linalg.norm(product)
    return IrDrop(
        relative=float(torch.linalg.norm(seen - product) / norm),
        after_gain=float(torch.linalg.norm(seen * gain - product) / norm),
    )
