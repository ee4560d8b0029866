"""Where each curve of a device comes from, and where it holds: a table to print. Knows no state.

Marks: [pub] published, [code] public code of the project named, [fit] fitted here to a published
curve, [asm] assumed here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim_backend.incremental_set import CHARACTERISED_MICROSIEMENS
from sim_backend.laws import RELATIVE_RANGE
from sim_backend.thermal import TEMPERATURE_RANGE_KELVIN

if TYPE_CHECKING:
    from sim_backend.params import DeviceParams

__all__ = ["Evidence", "evidence_of"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One curve.

    Attributes:
        quantity: What it gives, with its unit.
        source: Where it comes from, with a mark.
        variable: What it depends on, with its unit.
        fitted: Lowest and highest value of the variable that it was fitted or stated for.
        outside: What happens beyond: an error, or how it goes on.
    """

    quantity: str
    source: str
    variable: str
    fitted: tuple[float, float]
    outside: str


def evidence_of(params: DeviceParams) -> tuple[Evidence, ...]:
    """List the curves of a device type in the order in which a device meets them."""
    law = params.law
    near_set = "below 0: error; above 1, near SET: "
    relative, ages = "r = G / g_max", (law.t0_s, law.longest_age_s)
    later = "below t0: that of t0 (decision 0010); beyond: the same law [asm]"
    knots = tuple(r for r, _ in params.relaxation)
    assumed = "[asm] no public curve of G against RESET amplitude"
    return (
        Evidence(
            quantity="conductance after a RESET pulse / g_max",
            source=f"sigmoid {assumed}",
            variable="amplitude / A",
            fitted=(0.0, math.inf),
            outside="none: the plateaus of SET and RESET",
        ),
        Evidence(
            quantity="programming error and cycle noise / g_max",
            source=law.source,
            variable=relative,
            fitted=RELATIVE_RANGE,
            outside=f"{near_set}that of 1 [asm]",
        ),
        Evidence(
            quantity="increment of a short SET pulse / µS",
            source="[pub] Nandakumar et al., J. Appl. Phys. 124, 152135 (2018)",
            variable="G / µS",
            fitted=CHARACTERISED_MICROSIEMENS,
            outside="that of the nearer end [asm]",
        ),
        Evidence(
            quantity="relaxation until t0 / g_max",
            source="[fit] to the published programming error (decision 0009)",
            variable=relative,
            fitted=(knots[0], knots[-1]),
            outside="that of the last knot [asm]",
        ),
        Evidence(
            quantity="drift exponent: mean and spread",
            source=law.source,
            variable=relative,
            fitted=RELATIVE_RANGE,
            outside=f"{near_set}those of 1 [asm]",
        ),
        Evidence(
            quantity="drift (T / t0)^-nu",
            source=law.source,
            variable="T / s",
            fitted=ages,
            outside=later,
        ),
        Evidence(
            quantity="read-noise coefficient Q",
            source=law.source,
            variable=relative,
            fitted=RELATIVE_RANGE,
            outside=f"{near_set}Q(1) / r [asm]",
        ),
        Evidence(
            quantity="read noise Q sqrt(ln((T + t_r) / (2 t_r)))",
            source=law.source,
            variable="T / s",
            fitted=ages,
            outside=f"{later}; faster than t_r: error",
        ),
        Evidence(
            quantity="conductance against temperature",
            source="[pub] range: IRPS 2016; [asm] activation energy (decision 0024)",
            variable="temperature / K",
            fitted=TEMPERATURE_RANGE_KELVIN,
            outside="error",
        ),
        Evidence(
            quantity="share of devices worn out",
            source="[asm] log-normal; both ends: [pub] Kim et al., MRS Bulletin 44 (2019)",
            variable="pulses",
            fitted=(0.0, math.inf),
            outside="none",
        ),
    )
