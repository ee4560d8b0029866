"""What aihwkit's drift step would make of a chip's conductances. Knows no chip.

It derives a one-sided pair anew from the programmed net weight: what the other device holds is in
the net and drifts with it. And it scales the pair so that the largest net weight, which programming
error has raised above g_max, is g_max: all others count as smaller conductances, which have more
read noise (Q falls with conductance). Figures from that toolkit carry both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from sim_backend.laws import StatisticalLaw

__all__ = ["NOTE", "seen_by_aihwkit"]

Array = npt.NDArray[np.float64]

NOTE = (
    "The chip does not rescale: aihwkit's drift step takes the largest programmed weight for "
    "g_max, so that all others count as smaller conductances with more read noise"
)


def seen_by_aihwkit(
    at_t0: Array, now: Array, age_s: float, law: StatisticalLaw, rng: np.random.Generator
) -> Array:
    """Net conductances as its drift step would have them, (rows, cols), unit of what is given.

    Programmed and drifted values are the chip's; read noise is drawn anew.

    Args:
        at_t0, now: True conductances of a chip with one device per polarity, (2, rows, cols).
        age_s: Time since t0, s.
        law: Gives read noise and t0.
        rng: What read noise is drawn from.
    """
    net = at_t0[0] - at_t0[1]
    side = (net < 0).astype(np.int64)[None]
    then, later = (np.take_along_axis(each, side, axis=0)[0] for each in (at_t0, now))
    kept = np.divide(later, then, out=np.ones_like(then), where=then > 0)
    q = law.read_noise_q(torch.from_numpy(np.abs(net) / np.abs(net).max())).numpy()
    total_s = age_s + law.t0_s
    growth = math.log((total_s + law.t_read_s) / (2 * law.t_read_s))
    noise = 1 + q * math.sqrt(growth) * rng.standard_normal(net.shape)
    return np.asarray(net * kept * np.maximum(noise, 0.0))
