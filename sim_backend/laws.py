"""Published conductance statistics as functions of relative conductance. Pure; no state.

r is conductance over the largest conductance of a device; T is the time since the last pulse, at
least t0 (the references write T = t + t0 with t counted from the first read, t0 after programming).
All coefficients: IBM aihwkit `PCMLikeNoiseModel` and `HermesNoiseModel`, from Nandakumar et al.
ICECS 2019 (90 nm, 1 M devices) and Le Gallo et al., Nat. Electron. 6, 680 (2023) (14 nm).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hil.errors import RequestError

__all__ = [
    "HERMES_ONE_DEVICE",
    "HERMES_TWO_DEVICES",
    "PCM_90NM",
    "RELATIVE_RANGE",
    "Curve",
    "LogClip",
    "PiecewiseLinear",
    "Polynomial",
    "PowerClip",
    "Split",
    "StatisticalLaw",
]

YEAR_S = 365 * 86_400.0
RELATIVE_RANGE = (0.0, 1.0)
"""Conductances over g_max for which the curves were fitted."""
R_FLOOR = 1e-7
"""Smallest r that enters a logarithm."""


@dataclass(frozen=True, kw_only=True)
class LogClip:
    """clip(slope ln r + offset, low, high)."""

    slope: float
    offset: float
    low: float
    high: float

    def __call__(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Evaluate; r below 1e-7 counts as 1e-7."""
        return (self.slope * r.clamp(min=R_FLOOR).log() + self.offset).clamp(self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class PowerClip:
    """min(factor r^exponent, high)."""

    factor: float
    exponent: float
    high: float

    def __call__(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Evaluate; r below 1e-7 counts as 1e-7."""
        return (self.factor * r.clamp(min=R_FLOOR).pow(self.exponent)).clamp(max=self.high)


@dataclass(frozen=True)
class Polynomial:
    """c[0] + c[1] r + c[2] r^2 + ..."""

    c: tuple[float, ...]

    def __call__(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Evaluate by Horner's rule."""
        value = torch.full_like(r, self.c[-1])
        for coefficient in reversed(self.c[:-1]):
            value = value * r + coefficient
        return value


@dataclass(frozen=True, kw_only=True)
class Split:
    """`low` below r = at, `high` from there on."""

    at: float
    low: LogClip
    high: Polynomial

    def __call__(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Evaluate both branches and choose per element."""
        return torch.where(r < self.at, self.low(r), self.high(r))


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear:
    """Straight lines between knots (r, value), r rising; beyond the outer knots their values hold.

    What a chip was measured to do, where no closed form is claimed.
    """

    r: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Interpolate."""
        x = torch.tensor(self.r, dtype=r.dtype, device=r.device)
        y = torch.tensor(self.values, dtype=r.dtype, device=r.device)
        if x.shape[0] == 1:
            return torch.full_like(r, self.values[0])
        high = torch.searchsorted(x, r.contiguous()).clamp(1, x.shape[0] - 1)
        low = high - 1
        share = ((r - x[low]) / (x[high] - x[low])).clamp(0.0, 1.0)
        return y[low] + share * (y[high] - y[low])


Curve = LogClip | PowerClip | Polynomial | Split | PiecewiseLinear


@dataclass(frozen=True, kw_only=True)
class StatisticalLaw:
    """One published parameter set. Fitted for 0 <= r <= 1.

    Above r = 1 (devices near SET) the exponent of r = 1 and its *absolute* read noise hold. This is
    assumed: Vasilopoulos et al. (IEEE TED 2023) find SET and RESET the most stable states, with the
    least relative noise and drift.

    Attributes:
        g_ref_microsiemens: Conductance at r = 1 for which the coefficients were fitted.
        t0_s: Age at which the programmed conductance is defined, s.
        t_read_s: Read time of the noise law, s.
        sigma: Programming error in µS at g_ref against r of the target.
        mu, sd: Mean and spread of the drift exponent nu.
        q: Read-noise coefficient Q.
        source: Where the coefficients come from.
        longest_age_s: Longest time for which results of the law are published, s. Drift in log time
            is known to go on for ten decades (IRPS 2016), so it is not refused beyond.
    """

    g_ref_microsiemens: float
    t0_s: float
    t_read_s: float
    sigma: Curve
    mu: Curve
    sd: Curve
    q: Curve
    source: str = "given by the caller"
    longest_age_s: float = YEAR_S  # [pub Rasch] MVM errors up to one year

    def programming_sigma(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Published programming error as a fraction of g_max, at age t0.

        A fraction: where g_max is not g_ref, the error in µS scales with it, as published.

        Raises:
            RequestError: A conductance is negative or not a number.
        """
        return self.sigma(_inside(r)) / self.g_ref_microsiemens

    def drift_exponent(self, r: Float[Tensor, "*s"], z: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Drift exponent |mu(r) + sd(r) z| of devices with standard normal deviates z.

        Raises:
            RequestError: A conductance is negative or not a number.
        """
        inside = _inside(r)
        return (self.mu(inside) + self.sd(inside) * z).abs()

    def read_noise_q(self, r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Q(r): relative read noise is Q sqrt(ln((T + t_r) / (2 t_r))); Q(1) / r above r = 1.

        Raises:
            RequestError: A conductance is negative or not a number.
        """
        return self.q(_inside(r)) / r.clamp(min=1.0)

    def log_law(self, age_s: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """ln((T + t_r) / (2 t_r)), T = max(age, t0): variance of 1/f noise in units of Q^2."""
        total = self.noise_age(age_s) + self.t_read_s
        return torch.log(total / (2.0 * self.t_read_s))

    def noise_age(self, age_s: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """T = max(age, t0)."""
        return age_s.clamp(min=self.t0_s)

    def log_drift(self, age_s: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """ln(T / t0), T = max(age, t0): conductance falls as exp(-nu ln(T / t0))."""
        return torch.log(self.noise_age(age_s) / self.t0_s)


def _inside(r: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Conductances within the fitted range: those above count as its end."""
    low, high = RELATIVE_RANGE
    if not bool((r >= low).all()):
        raise RequestError(
            f"relative conductance {float(r.min())} is outside {low:g}...; give conductances of "
            "devices, which are not negative"
        )
    return r.clamp(max=high)


PCM_90NM = StatisticalLaw(
    g_ref_microsiemens=25.0,
    t0_s=20.0,
    t_read_s=250e-9,
    sigma=Polynomial((0.26348, 1.9650, -1.1731)),
    mu=LogClip(slope=-0.0155, offset=0.0244, low=0.049, high=0.1),
    sd=LogClip(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045),
    q=PowerClip(factor=0.0088, exponent=-0.65, high=0.2),
    source="[code] aihwkit PCMLikeNoiseModel, from Nandakumar et al., ICECS 2019: 1 M devices",
)

_HERMES_SOURCE = "[code] aihwkit HermesNoiseModel, from Le Gallo et al., Nat. Electron. 6 (2023)"
_HERMES_MU = Split(
    at=0.0945,
    low=LogClip(slope=-0.0387, offset=-0.0182, low=0.072, high=0.13),
    high=Polynomial((0.0736, -0.0126, -0.0436)),
)

HERMES_ONE_DEVICE = StatisticalLaw(
    g_ref_microsiemens=10.35,
    t0_s=200.0,
    t_read_s=512e-9,
    sigma=Polynomial((0.15781817, 2.32443916, -2.16310839, 0.68841818)),
    mu=_HERMES_MU,
    sd=Split(
        at=0.3039,
        low=LogClip(slope=-0.0120, offset=-0.0023, low=0.0124, high=0.04),
        high=Polynomial((0.0104, 0.0116, -0.0165)),
    ),
    q=Split(
        at=0.1591,
        low=LogClip(slope=-0.0078, offset=0.0038, low=0.0179, high=0.04),
        high=Polynomial((0.0088, 0.0768, -0.1352, 0.0664)),
    ),
    source=f"{_HERMES_SOURCE}, one device per polarity",
)

HERMES_TWO_DEVICES = StatisticalLaw(
    g_ref_microsiemens=20.7,
    t0_s=300.0,
    t_read_s=512e-9,
    sigma=Polynomial((0.16603222, 4.71806468, -8.48101252, 4.68961419)),
    mu=_HERMES_MU,
    sd=Split(
        at=0.3055,
        low=LogClip(slope=-0.0117, offset=-0.0057, low=0.0091, high=0.04),
        high=Polynomial((0.0073, 0.0093, -0.0118)),
    ),
    q=Split(
        at=0.16,
        low=LogClip(slope=-0.0117, offset=-0.0069, low=0.015, high=0.04),
        high=Polynomial((0.0123, 0.0211, -0.0280, 0.0069)),
    ),
    source=f"{_HERMES_SOURCE}, two devices per polarity",
)
