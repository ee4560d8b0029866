"""One ladder of fixed conductances, solved exactly: the share of each cell's current at the ADC.

Norton form of the collapse from the far end: what stands beyond a node is a conductance Y and a
current J into the ADC's potential; a segment r takes both to Y / (1 + r Y) and J / (1 + r Y), and
the next cell adds its own. It equals the Thevenin collapse r1 = R_th + r_w, R_th' = r1 || r,
V_th' = (V_th / r1 + v / r) R_th' with R_th = 1 / Y and V_th = J / Y, and needs no care where a cell
has no conductance.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["shares"]


def shares(
    loading_siemens: Float[Tensor, "rows cols"], ohm_per_cell: float
) -> Float[Tensor, "rows cols"]:
    """Return the share of each cell's current that reaches the ADC, in (0, 1]; O(rows x cols).

    Rows run from the far end to the ADC. By reciprocity it is the potential of the node for 1 V at
    the ADC. Differentiable.
    """
    beyond = torch.zeros_like(loading_siemens[0])
    factors = []
    for cell in loading_siemens.unbind(0):
        factor = 1.0 / (1.0 + ohm_per_cell * beyond)
        beyond = cell + beyond * factor
        factors.append(factor)
    last = 1.0 / (1.0 + 0.5 * ohm_per_cell * beyond)
    steps = torch.stack([*factors[1:], last])
    return steps.flip(0).cumprod(0).flip(0)
