"""Published coefficients, evaluated: the spot table of the statistical models, and their edges."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from hil.errors import RequestError
from sim_backend.evidence import evidence_of
from sim_backend.laws import (
    HERMES_ONE_DEVICE,
    HERMES_TWO_DEVICES,
    PCM_90NM,
    LogClip,
    Polynomial,
    StatisticalLaw,
)
from sim_backend.params import PRESETS

# r: programming error / % of g_max, mu, sd, Q, as printed (rounded) for each parameter set.
SPOTS = {
    "90 nm": (
        PCM_90NM,
        {
            0.0: (1.1, 0.100, 0.045, 0.200),
            0.1: (1.8, 0.060, 0.023, 0.039),
            0.3: (3.0, 0.049, 0.009, 0.019),
            0.5: (3.8, 0.049, 0.008, 0.014),
            0.7: (4.3, 0.049, 0.008, 0.011),
            1.0: (4.2, 0.049, 0.008, 0.009),
        },
    ),
    "14 nm, one device": (
        HERMES_ONE_DEVICE,
        {
            0.0: (1.5, 0.130, 0.040, 0.040),
            0.1: (3.6, 0.072, 0.025, 0.022),
            0.3: (6.6, 0.066, 0.012, 0.021),
            0.5: (8.4, 0.056, 0.012, 0.022),
            0.7: (9.3, 0.043, 0.010, 0.019),
            1.0: (9.7, 0.017, 0.006, 0.017),
        },
    ),
    "14 nm, two devices": (
        HERMES_TWO_DEVICES,
        {
            0.0: (0.8, 0.130, 0.040, 0.040),
            0.1: (2.7, 0.072, 0.021, 0.020),
            0.3: (4.6, 0.066, 0.009, 0.016),
            0.5: (4.8, 0.056, 0.009, 0.017),
            0.7: (4.5, 0.043, 0.008, 0.016),
            1.0: (5.3, 0.017, 0.005, 0.012),
        },
    ),
}
LAWS = [pytest.param(law, id=name) for name, (law, _) in SPOTS.items()]


@pytest.mark.parametrize("name", SPOTS)
def test_laws_give_the_published_spot_values(name: str) -> None:
    law, spots = SPOTS[name]
    r = torch.tensor(sorted(spots))
    sigma, mu, sd, q = torch.tensor([spots[float(f"{v:.1f}")] for v in r]).T
    assert torch.allclose(100 * law.programming_sigma(r), sigma, atol=0.051)
    assert torch.allclose(law.drift_exponent(r, torch.zeros_like(r)), mu, atol=0.00051)
    assert torch.allclose(law.sd(r), sd, atol=0.00051)
    assert torch.allclose(law.read_noise_q(r), q, atol=0.00051)


@pytest.mark.parametrize(
    ("law", "factor"), [(PCM_90NM, 4.18), (HERMES_ONE_DEVICE, 4.37), (HERMES_TWO_DEVICES, 4.42)]
)
def test_accumulated_read_noise_at_t0(law: StatisticalLaw, factor: float) -> None:
    ages = torch.tensor([0.0, law.t0_s / 2, law.t0_s])
    assert torch.allclose(law.log_law(ages).sqrt(), torch.full((3,), factor), atol=0.005)


@pytest.mark.parametrize("law", LAWS)
def test_time_counts_from_t0_on(law: StatisticalLaw) -> None:
    ages = law.t0_s * torch.tensor([0.0, 1e-6, 1.0, 10.0, 100.0])
    drift = law.log_drift(ages)
    assert torch.equal(drift[:3], torch.zeros(3))
    assert torch.allclose(drift[3:], torch.tensor([10.0, 100.0]).log())
    assert bool((law.log_law(ages).diff() >= 0).all())


@pytest.mark.parametrize("law", LAWS)
def test_every_conductance_has_finite_statistics(law: StatisticalLaw) -> None:
    r = torch.cat([torch.zeros(1), torch.logspace(-9, 0.7, 400)])
    for curve in (law.programming_sigma(r), law.mu(r.clamp(0, 1)), law.sd(r.clamp(0, 1))):
        assert bool(torch.isfinite(curve).all())
        assert float(curve.min()) > 0
    q = law.read_noise_q(r)
    assert float(q.min()) > 0
    assert float(q.max()) <= 0.2 + 1e-6


@pytest.mark.parametrize("law", LAWS)
def test_above_g_max_noise_stays_absolute_and_the_exponent_that_of_g_max(
    law: StatisticalLaw,
) -> None:
    r = torch.tensor([1.0, 2.0, 4.0])
    absolute = r * law.read_noise_q(r)
    assert torch.allclose(absolute, absolute[:1].expand(3))
    z = torch.tensor([0.5, 0.5, 0.5])
    assert torch.equal(law.drift_exponent(r, z), law.drift_exponent(r[:1], z[:1]).expand(3))
    assert torch.equal(law.programming_sigma(r), law.programming_sigma(r[:1]).expand(3))


@pytest.mark.parametrize("law", LAWS)
def test_drift_never_raises_a_conductance(law: StatisticalLaw) -> None:
    r = torch.linspace(0, 1, 50)[:, None].expand(50, 41)
    z = torch.linspace(-5, 5, 41).expand(50, 41)
    assert float(law.drift_exponent(r, z).min()) >= 0


def test_branches_meet_their_own_formulas() -> None:
    """Just below and from a branch point on, the published halves hold as they stand."""
    below, at = torch.tensor([0.0944]), torch.tensor([0.0945])
    low = (-0.0387 * below.log() - 0.0182).clamp(0.072, 0.13)
    high = -0.0436 * at**2 - 0.0126 * at + 0.0736
    assert torch.allclose(HERMES_ONE_DEVICE.mu(below), low)
    assert torch.allclose(HERMES_ONE_DEVICE.mu(at), high)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("wrong", [-0.1, float("nan")])
def test_what_is_no_conductance_is_refused(law: StatisticalLaw, wrong: float) -> None:
    r = torch.tensor([0.5, wrong])
    for curve in (law.programming_sigma, law.read_noise_q, lambda r: law.drift_exponent(r, r)):
        with pytest.raises(RequestError, match=r"relative conductance .* is outside 0\.\.\."):
            curve(r)


def test_programming_error_scales_with_g_max() -> None:
    """In µS it is s g_max / g_ref: relative to g_max, the same on a chip with another g_max."""
    aon, pcm90 = PRESETS["aon"].device, PRESETS["pcm90"].device
    assert aon is not None
    assert pcm90 is not None
    r = torch.linspace(0, 1, 11)
    for params in (aon, pcm90):
        microsiemens = params.law.programming_sigma(r) * params.g_max_microsiemens
        published = 0.26348 + 1.9650 * r - 1.1731 * r**2
        assert torch.allclose(microsiemens, published * params.g_max_microsiemens / 25.0)


TABLE = {
    # Section 2.2 of the models: g_max, t0, t_r, c0...c3, mu low, mu high, sd low, sd high, Q.
    "90 nm": (PCM_90NM, 25.0, 20.0, 250e-9, (0.26348, 1.9650, -1.1731)),
    "14 nm, one device": (
        HERMES_ONE_DEVICE,
        10.35,
        200.0,
        512e-9,
        (0.15781817, 2.32443916, -2.16310839, 0.68841818),
    ),
    "14 nm, two devices": (
        HERMES_TWO_DEVICES,
        20.7,
        300.0,
        512e-9,
        (0.16603222, 4.71806468, -8.48101252, 4.68961419),
    ),
}


def _clip(r: Tensor, slope: float, offset: float, low: float, high: float) -> Tensor:
    return (slope * r.log() + offset).clamp(low, high)


CURVES = {
    "90 nm": {
        "mu": lambda r: _clip(r, -0.0155, 0.0244, 0.049, 0.1),
        "sd": lambda r: _clip(r, -0.0125, -0.0059, 0.008, 0.045),
        "q": lambda r: (0.0088 / r**0.65).clamp(max=0.2),
    },
    "14 nm, one device": {
        "mu": lambda r: torch.where(
            r < 0.0945,
            _clip(r, -0.0387, -0.0182, 0.072, 0.13),
            -0.0436 * r**2 - 0.0126 * r + 0.0736,
        ),
        "sd": lambda r: torch.where(
            r < 0.3039,
            _clip(r, -0.0120, -0.0023, 0.0124, 0.04),
            -0.0165 * r**2 + 0.0116 * r + 0.0104,
        ),
        "q": lambda r: torch.where(
            r < 0.1591,
            _clip(r, -0.0078, 0.0038, 0.0179, 0.04),
            0.0664 * r**3 - 0.1352 * r**2 + 0.0768 * r + 0.0088,
        ),
    },
    "14 nm, two devices": {
        "mu": lambda r: torch.where(
            r < 0.0945,
            _clip(r, -0.0387, -0.0182, 0.072, 0.13),
            -0.0436 * r**2 - 0.0126 * r + 0.0736,
        ),
        "sd": lambda r: torch.where(
            r < 0.3055,
            _clip(r, -0.0117, -0.0057, 0.0091, 0.04),
            -0.0118 * r**2 + 0.0093 * r + 0.0073,
        ),
        "q": lambda r: torch.where(
            r < 0.16,
            _clip(r, -0.0117, -0.0069, 0.015, 0.04),
            0.0069 * r**3 - 0.0280 * r**2 + 0.0211 * r + 0.0123,
        ),
    },
}


@pytest.mark.parametrize("name", TABLE)
def test_every_coefficient_is_that_of_the_published_table(name: str) -> None:
    law, g_ref, t0_s, t_read_s, sigma = TABLE[name]
    assert (law.g_ref_microsiemens, law.t0_s, law.t_read_s) == (g_ref, t0_s, t_read_s)
    assert law.sigma.c == sigma
    r = torch.cat([torch.logspace(-6, 0, 300), torch.tensor([0.0945, 0.16, 0.1591, 0.3039])])
    for quantity, formula in CURVES[name].items():
        assert torch.allclose(getattr(law, quantity)(r), formula(r), rtol=1e-5, atol=1e-8), quantity


def test_presets_stand_on_the_statistics_of_their_chip() -> None:
    laws = {"hermes": HERMES_ONE_DEVICE, "pcm90": PCM_90NM, "aon": PCM_90NM}
    g_max = {"hermes": 10.35, "pcm90": 25.0, "aon": 5.0}
    for name, law in laws.items():
        device = PRESETS[name].device
        assert device is not None
        assert device.law is law
        assert device.g_max_microsiemens == g_max[name]
        assert device.set_ceiling_microsiemens == 12.0
        floor = device.reset_floor * device.law.g_ref_microsiemens
        assert floor == pytest.approx(0.1, rel=0.01), "0.1 µS after RESET (Nandakumar JAP 2018)"
    assert PRESETS["hermes"].devices_per_polarity == (2, 1)


@pytest.mark.parametrize("name", ["hermes", "pcm90", "aon"])
def test_every_curve_says_where_it_comes_from_and_where_it_holds(name: str) -> None:
    device = PRESETS[name].device
    assert device is not None
    rows = evidence_of(device)
    assert len({row.quantity for row in rows}) == len(rows)
    for row in rows:
        assert re.search(r"\[(pub|code|fit|asm)\]", row.source), row.quantity
        assert row.fitted[0] < row.fitted[1]
        assert row.outside
        assert re.search(r"\[asm\]|error|none", row.outside), row.quantity
    ages = [row.fitted for row in rows if row.variable == "T / s"]
    assert ages == [(device.law.t0_s, 365 * 86_400.0)] * 2


def test_polynomial_and_clip_are_what_they_say() -> None:
    x = torch.tensor([0.0, 0.5, 2.0])
    assert torch.allclose(Polynomial((1.0, -2.0, 3.0))(x), 1 - 2 * x + 3 * x**2)
    clip = LogClip(slope=-1.0, offset=0.0, low=0.0, high=2.0)
    assert torch.allclose(
        clip(torch.tensor([0.0, 0.5, 3.0])), torch.tensor([2.0, 0.6931, 0.0]), atol=1e-4
    )
