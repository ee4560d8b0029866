"""Families of the validation, quick: they compare what chips do, and all is within tolerance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.progress import Silent
from hil.validation import Effort
from sim_backend import params
from sim_backend.validation import FAMILIES
from sim_backend.validation.base import FamilyResult, Measuring
from sim_backend.validation.mvm_error import SETTINGS, _of_setting

pytestmark = pytest.mark.statistical


def _measuring(seed: int) -> Measuring:
    with Silent().task("nobody watches") as task:
        return Measuring(seed=seed, compute="cpu", effort=Effort.QUICK, task=task)


def _found(name: str, seed: int) -> FamilyResult:
    family = next(family for family in FAMILIES if family.name == name)
    return family.measure(_measuring(seed))


@pytest.mark.parametrize(
    "name", ["pulses", "standard-crossbar", "aihwkit-drift", "circuit", "ngspice"]
)
def test_a_family_is_within_its_tolerances_on_another_seed(name: str) -> None:
    found = _found(name, seed=41)
    missed = [(row.group, row.at, row.ours) for row in found.rows if row.passed is False]
    assert not missed
    assert len(found.rows) > 10
    assert all(row.family == name for row in found.rows)
    assert len({(row.group, row.at) for row in found.rows}) == len(found.rows)


def test_other_devices_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A programming error 8 % too large, or drift 8 % too strong, misses the table."""
    setting = SETTINGS[2]
    published = np.array(setting.published)
    plain = _of_setting(setting, _measuring(1), 5)
    assert np.abs(plain - published).max() < 0.6  # one seed
    device = params.PRESETS["pcm90"].device
    assert device is not None
    law, factor = device.law, 1.08
    louder = replace(law, sigma=replace(law.sigma, c=tuple(factor * c for c in law.sigma.c)))
    faster = replace(
        law,
        mu=replace(
            law.mu, **{k: factor * getattr(law.mu, k) for k in ("slope", "offset", "low", "high")}
        ),
    )
    for changed in (louder, faster):
        preset = replace(params.PRESETS["pcm90"], device=replace(device, law=changed))
        monkeypatch.setitem(params.PRESETS, "pcm90", preset)
        assert np.abs(_of_setting(setting, _measuring(1), 5) - published).max() > 0.6
