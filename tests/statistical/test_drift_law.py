"""Conductance falls as (T / t0)^-nu, T = max(age, t0), with the published spread of nu."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sim_backend.params import PRESETS, DeviceParams
from sim_backend.pcm import Effects, PcmArray

pytestmark = pytest.mark.statistical

MakeDevices = Callable[..., PcmArray]
SHAPE = (1, 400, 400)
NO_RELAXATION = Effects(relaxation=False, stuck=False)
HERMES = PRESETS["hermes"].device
PCM90 = PRESETS["pcm90"].device

SPOTS = {
    # r: (mu, sd), published coefficients evaluated by hand.
    "hermes": {0.3: (0.066, 0.0124), 0.5: (0.056, 0.012), 0.7: (0.043, 0.010), 1.0: (0.017, 0.006)},
    "pcm90": {0.3: (0.049, 0.009), 0.5: (0.049, 0.008), 0.7: (0.049, 0.008), 1.0: (0.049, 0.008)},
}


def _everywhere(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    device, rows, cols = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    return device.reshape(-1), rows.reshape(-1), cols.reshape(-1)


def _program(pcm: PcmArray, at_s: float, seed: int) -> None:
    """One RESET pulse of random amplitude on every device: states over the whole range."""
    place = _everywhere(SHAPE)
    n = place[0].shape[0]
    ampere = 150e-6 + 350e-6 * torch.rand(n, generator=torch.Generator().manual_seed(seed))
    when = torch.full((n,), at_s, dtype=torch.float64)
    pcm.reset(place, ampere, torch.ones(n, dtype=torch.int64), when)


def _exponents(pcm: PcmArray, t0: float, at_s: float) -> Tensor:
    early = pcm.conductance(at_s + 10 * t0)
    late = pcm.conductance(at_s + 1000 * t0)
    return -torch.log(late / early) / torch.log(torch.tensor(100.0))


@pytest.mark.parametrize("name", ["hermes", "pcm90"])
def test_exponents_have_the_published_mean_and_spread(make_devices: MakeDevices, name: str) -> None:
    params = PRESETS[name].device
    assert params is not None
    pcm = make_devices(params, SHAPE, 3, NO_RELAXATION)
    _program(pcm, 0.0, seed=1)
    r = pcm.conductance(0.0)
    nu = _exponents(pcm, params.law.t0_s, 0.0)
    for spot, (mu, sd) in SPOTS[name].items():
        chosen = nu[(r - spot).abs() < 0.02]
        n = chosen.numel()
        assert n > 500
        rounding = 0.0007  # of the spot values, and mu within +-0.02 of r
        assert abs(float(chosen.mean()) - mu) < 4 * sd / n**0.5 + rounding, spot
        assert abs(float(chosen.std()) - sd) < 4 * sd / (2 * n) ** 0.5 + rounding, spot


@pytest.mark.parametrize("params", [HERMES, PCM90], ids=["hermes", "pcm90"])
def test_standardised_exponents_are_standard_normal(
    make_devices: MakeDevices, params: DeviceParams
) -> None:
    pcm = make_devices(params, SHAPE, 4, NO_RELAXATION)
    _program(pcm, 0.0, seed=2)
    r = pcm.conductance(0.0)
    nu = _exponents(pcm, params.law.t0_s, 0.0)
    known = (r > 0.3) & (r < 0.8)  # mu above 3 sd: the absolute value folds next to nothing
    z = ((nu - params.law.mu(r)) / params.law.sd(r))[known]
    n = z.numel()
    assert abs(float(z.mean())) < 4 / n**0.5
    assert abs(float(z.std()) - 1) < 4 / (2 * n) ** 0.5
    kurtosis = float(((z - z.mean()) / z.std()).pow(4).mean())
    assert abs(kurtosis - 3) < 4 * (24 / n) ** 0.5


def test_every_device_drifts_along_a_straight_line_in_log_log(make_devices: MakeDevices) -> None:
    assert HERMES is not None
    pcm = make_devices(HERMES, SHAPE, 5, NO_RELAXATION)
    _program(pcm, 0.0, seed=3)
    t0 = HERMES.law.t0_s
    ages = t0 * torch.tensor([1.0, 3.0, 10.0, 100.0, 1e4, 1e6])
    log_g = torch.stack([pcm.conductance(float(age)).double().log() for age in ages])
    live = torch.isfinite(log_g).all(0)
    slope = (log_g[-1] - log_g[0]) / torch.log(ages[-1] / ages[0])
    line = log_g[0] + slope * torch.log(ages / t0)[:, None, None, None]
    assert float((log_g - line)[:, live].abs().max()) < 1e-5
    assert float(slope[live].max()) <= 0.0


def test_nothing_drifts_before_the_reference_age(make_devices: MakeDevices) -> None:
    assert HERMES is not None
    pcm = make_devices(HERMES, SHAPE, 6, NO_RELAXATION)
    _program(pcm, 50.0, seed=4)
    fresh = pcm.conductance(50.0)
    assert torch.equal(fresh, pcm.conductance(50.0 + HERMES.law.t0_s))
    later = pcm.conductance(50.0 + 2 * HERMES.law.t0_s)
    assert bool((later < fresh)[fresh > 0].float().mean() > 0.99)


def test_an_exponent_belongs_to_its_device(make_devices: MakeDevices) -> None:
    """Pulsed again, a device keeps its deviate of nu, whatever its new conductance."""
    assert HERMES is not None
    pcm = make_devices(HERMES, SHAPE, 7, NO_RELAXATION)
    law = HERMES.law
    deviates = []
    for round_, at_s in enumerate((0.0, 1e6)):
        _program(pcm, at_s, seed=10 + round_)
        r = pcm.conductance(at_s)
        nu = _exponents(pcm, law.t0_s, at_s)
        z = (nu - law.mu(r)) / law.sd(r)
        deviates.append(torch.where((r > 0.3) & (r < 0.8), z, torch.nan))
    both = torch.isfinite(deviates[0]) & torch.isfinite(deviates[1])
    # Ages are kept in 64 bits, so that a million seconds do not blur the second round.
    assert int(both.sum()) > 1000
    pair = torch.stack([d[both] for d in deviates])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.999
