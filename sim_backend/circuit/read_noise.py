"""Read noise against integration time: what a cell shows anew at every MVM. Knows no charge.

sigma = slope(T) G + offset(T), with G = |g+ - g-| and T the mean time for which inputs are on; both
are polynomials in log10 T [code aihwkit 4545f11, xdep_pcm_read_noise; 14 nm]. The slope falls about
as T^-0.18 from 2.6 % at 1 ns to 1.1 % at 127 ns: neither white (T^-1/2) nor 1/f.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hil.errors import RequestError

__all__ = ["INTEGRATION_NOISE", "IntegrationNoise", "mean_on_ns"]

Coefficients = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class IntegrationNoise:
    """Polynomials in log10 of the mean integration time in ns, highest power first.

    Attributes:
        slope: Standard deviation over conductance.
        offset_microsiemens: Standard deviation of a cell of no net conductance, µS.
        shortest_ns, longest_ns: Fitted range of the time.
    """

    slope: Coefficients
    offset_microsiemens: Coefficients
    shortest_ns: float
    longest_ns: float

    def coefficients(
        self, mean_ns: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Return slope, dimensionless, and offset, S, of each vector.

        Raises:
            RequestError: A time is outside the fitted range.
        """
        if mean_ns.numel() and not (
            bool((mean_ns >= self.shortest_ns).all()) and bool((mean_ns <= self.longest_ns).all())
        ):
            raise RequestError(
                f"mean integration times of {float(mean_ns.min()):.3g} to "
                f"{float(mean_ns.max()):.3g} ns leave the fitted range of {self.shortest_ns:g} to "
                f"{self.longest_ns:g} ns; nothing is known of the read noise there"
            )
        x = mean_ns.log10()
        return _horner(self.slope, x), _horner(self.offset_microsiemens, x) * 1e-6

    def sigma_siemens(
        self, net_siemens: Float[Tensor, "rows cols"], mean_ns: float
    ) -> Float[Tensor, "rows cols"]:
        """Return the standard deviation of each cell's net conductance, S.

        Raises:
            RequestError: The time is outside the fitted range.
        """
        time = torch.tensor([mean_ns], dtype=net_siemens.dtype, device=net_siemens.device)
        slope, offset = self.coefficients(time)
        return slope * net_siemens.abs() + offset


INTEGRATION_NOISE = {
    "hermes": IntegrationNoise(
        slope=(0.00021926, -0.00187352, 0.00655714, -0.0146159, 0.02578764),  # [code aihwkit]
        offset_microsiemens=(
            0.00111907,
            -0.00908577,
            0.0307015,
            -0.0677079,
            0.117763,
        ),  # [code aihwkit]
        shortest_ns=1.0,  # one slot
        longest_ns=127.0,  # the whole window
    )
}
"""By preset; there is no such measurement of the 90 nm array."""


def mean_on_ns(
    widths: Float[Tensor, "batch rows"], slot_s: float
) -> tuple[Float[Tensor, " on"], Bool[Tensor, " batch"]]:
    """Return mean pulse widths, ns, of the vectors with an input on, and which those are.

    The mean is over the inputs that are on [asm]: a device whose input is off integrates nothing.
    The published code takes it over all inputs of a batch.
    """
    on = (widths != 0).sum(1)
    some = on > 0
    mean = widths.abs().sum(1)[some] / on[some]
    return mean * (slot_s * 1e9), some


def _horner(coefficients: Coefficients, x: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    value = torch.zeros_like(x)
    for coefficient in coefficients:
        value = value * x + coefficient
    return value
