"""H2, H3, over-programming and the pulse envelope: what a limits file does not list is refused."""

import dataclasses
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from hil.amplitude_ladder import AmplitudeLadder
from hil.backends import open_chip
from hil.device_limits import device_admission
from hil.errors import RequestError
from hil.guard import open_guard
from hil.info import BackendKind, ChipInfo, PulseFamily
from hil.plan_costs import Block, costs_of
from hil.programming import algorithm
from hil.pulse_limits import (
    Budget,
    FamilyLimits,
    Limits,
    check_limits,
    largest_group,
    limits_for,
    load_limits,
)
from hil.requests import Pulse

RESET, SET = PulseFamily.RESET, PulseFamily.SET

TEXT = """
schema_version = 1
model = "linear"
title = "a fake with a microampere per code and 50 ns per width code"
[pulses.reset]
amplitude_min_ampere = 10e-6
amplitude_max_ampere = 500e-6
width_max_s = 200e-9
max_count = 3
concurrent_cells = 2
duty_max = 0.15
[budget]
pulses_per_run = 100
"""


@pytest.fixture
def limits(tmp_path):
    path = tmp_path / "linear.toml"
    path.write_text(TEXT)
    return load_limits(path, "linear")


def reset(amplitude=100, width=1, count=1, rows=0, cols=0):
    return Pulse.of(
        RESET, device=0, rows=rows, cols=cols, amplitude=amplitude, width=width, count=count
    )


@pytest.mark.parametrize(
    ("pulse", "words"),
    [
        (reset(amplitude=501), "amplitude_ampere 0.000501 is above 0.0005"),
        (reset(amplitude=9), "amplitude_ampere 9e-06 is below 1e-05"),
        (reset(width=5), "width_s 2.5e-07 is above 2e-07"),
        (reset(width=4), "duty 0.2 is above 0.15"),
        (reset(count=4), "count 4 is above 3"),
        (reset(rows=[0, 1, 2], cols=[0, 1, 2]), "cells at a time 3 is above 2"),
        (dataclasses.replace(reset(), family=SET), "set is not listed"),
    ],
    ids=["amplitude", "least-amplitude", "width", "duty", "count", "cells", "family"],
)
def test_pulse_outside_the_limits_file_is_refused_with_value_and_limit(
    limits, linear_cells, pulse, words
):
    info = linear_cells().info
    with pytest.raises(RequestError) as refused:
        check_limits(limits, info, pulse)
    assert words in str(refused.value)
    assert limits.source in str(refused.value)


def test_pulses_at_the_very_limits_pass(limits, linear_cells):
    info = linear_cells().info
    check_limits(limits, info, reset(amplitude=500, width=3, count=3))
    check_limits(limits, info, reset(amplitude=10, rows=[0, 1, 2], cols=[0, 1, 3]))
    check_limits(limits, info, Pulse.of(RESET, device=[], rows=[], cols=[], amplitude=[], width=[]))


def test_cells_at_a_time_are_those_of_one_device_on_one_diagonal(linear_cells):
    info = linear_cells(rows=8, cols=6, devices=2).info
    rows, cols = np.divmod(np.arange(48), 6)
    assert largest_group(info, reset(rows=rows, cols=cols)) == 6
    spread = Pulse.of(RESET, device=[0, 1, 2], rows=1, cols=1, amplitude=1, width=1)
    assert largest_group(info, spread) == 1


def ladder_of(linear_cells, first, step):
    allowed = FamilyLimits(first_amplitude_max_ampere=first, amplitude_step_max_ampere=step)
    limits = Limits(source="own", sha256="", families={RESET: allowed}, budget=Budget())
    return AmplitudeLadder(limits, linear_cells().info)


def climb(ladder, *amplitudes):
    for amplitude in amplitudes:
        ladder.check(reset(amplitude=amplitude))
        ladder.note(reset(amplitude=amplitude))


def test_forbidden_first_pulse_is_refused_and_the_ladder_climbs_in_steps(linear_cells):
    with pytest.raises(RequestError, match="after 0 A in this session"):
        ladder_of(linear_cells, 100e-6, 20e-6).check(reset(amplitude=101))
    ladder = ladder_of(linear_cells, 100e-6, 20e-6)
    climb(ladder, 100, 120, 90, 140)
    with pytest.raises(RequestError, match=r"allows 0.00016 A"):
        ladder.check(reset(amplitude=161))
    ladder.check(reset(amplitude=160))


def test_each_device_climbs_its_own_ladder(linear_cells):
    ladder = ladder_of(linear_cells, 100e-6, 20e-6)
    climb(ladder, 100, 120)
    with pytest.raises(RequestError, match=r"device 0 of cell \(1, 0\)"):
        ladder.check(reset(amplitude=[140, 120], rows=[0, 1]))


def test_a_first_pulse_alone_may_be_limited(linear_cells):
    ladder = ladder_of(linear_cells, 100e-6, None)
    with pytest.raises(RequestError, match="after 0 A"):
        ladder.check(reset(amplitude=500))
    climb(ladder, 50, 500)


def test_bundled_limits_let_everything_through_that_their_chips_accept():
    names = [f.name for f in (resources.files("protocols") / "limits").iterdir()]
    models = [name.removesuffix(".toml") for name in names if name.endswith(".toml")]
    assert {"hermes", "aon", "pcm90"} <= set(models)
    for model in models:
        with open_chip(f"sim:{model}?rows=8&cols=8") as chip:
            info = chip.info.cores[0]
        found = limits_for(model, BackendKind.SILICON)
        assert len(found.sha256) == 64
        for family in info.pulses:
            for amplitude in (family.amplitude.min_code, family.amplitude.max_code):
                pulse = Pulse.of(
                    family.family,
                    device=0,
                    rows=0,
                    cols=0,
                    amplitude=amplitude,
                    width=family.width.max_code,
                    count=family.max_count,
                )
                check_limits(found, info, pulse)


def test_silicon_without_a_limits_file_is_not_pulsed(tmp_path):
    with pytest.raises(RequestError, match="no pulse limits are listed for model 'mystery'"):
        limits_for("mystery", BackendKind.SILICON, tmp_path)
    assert limits_for("mystery", BackendKind.SIM, tmp_path).families is None
    (tmp_path / "limits.toml").write_text(TEXT.replace("linear", "mystery"))
    found = limits_for("mystery", BackendKind.SILICON, tmp_path)
    assert set(found.families) == {RESET}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[pulses.reset]", "[pulses.melt]", "pulses.melt"),
        ("max_count", "most", "pulses.reset.most: Extra inputs"),
        ("500e-6", "5e-6", "amplitude_min_ampere 1e-05 is above"),
        ("500e-6", "500", "amplitude_max_ampere"),
        ('"linear"', '"hermes"', "those of model 'hermes'"),
        ("= 100", "= -1", "pulses_per_run"),
        ("schema_version = 1", "schema_version = 2", "schema_version"),
        ("[budget]", "[budget", "not valid TOML"),
    ],
)
def test_wrong_limits_file_gets_one_sentence(tmp_path, old, new, words):
    path = tmp_path / "own.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(RequestError) as refused:
        load_limits(path, "linear")
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_guard_refuses_before_the_pulse_and_counts_the_run():
    with open_chip("sim:hermes?rows=8&cols=8") as chip, open_guard(chip.info) as guard:
        guard.limits = Limits(
            source="test", sha256="", families=None, budget=Budget(pulses_per_run=3)
        )
        guard.admit(0, reset(rows=[0, 1]))
        guard.admit(0, reset(count=1))
        with pytest.raises(RequestError, match="has sent 3 pulses; 1 more"):
            guard.admit(0, reset())
        guard.applied(0, reset(), None)
        with pytest.raises(RequestError, match="has sent 3 pulses"):
            guard.admit(0, reset())


def test_device_refuses_by_itself_what_its_limits_forbid_and_what_it_has_not(limits, linear_cells):
    core = linear_cells().info
    info = ChipInfo(
        serial="FAKE-1", backend=core.backend, model="linear", address="", cores=(core,)
    )
    admit = device_admission(info, Path(limits.source))
    admit(0, reset(amplitude=500))
    for pulse, words in ((reset(amplitude=501), "is above 0.0005"), (reset(rows=99), "row 99")):
        with pytest.raises(RequestError, match=words):
            admit(0, pulse)
    with pytest.raises(RequestError, match="those of model 'linear'"):
        device_admission(info.model_copy(update={"model": "other"}), Path(limits.source))


def test_all_three_levels_refuse_in_the_same_words(tmp_path, monkeypatch):
    folder = tmp_path / "state" / "chips" / "SIM-HERMES-0000003"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HIL_STATE", str(tmp_path / "state"))
    path = folder / "limits.toml"
    path.write_text(
        'schema_version = 1\nmodel = "hermes"\ntitle = "own"\n'
        "[pulses.set]\n[pulses.reset]\namplitude_max_ampere = 100e-6\n"
    )
    with open_chip("sim:hermes?rows=8&cols=8&seed=3") as chip:
        info = chip.info.model_copy(update={"address": "tcp:127.0.0.1:1"})
    said = set()
    with pytest.raises(RequestError) as refused:
        device_admission(info, path)(0, reset(amplitude=1023))
    said.add(str(refused.value))
    with open_guard(info) as guard, pytest.raises(RequestError) as refused:
        guard.admit(0, reset(amplitude=1023))
    said.add(str(refused.value))
    block = Block(core=0, rows=8, cols=8)
    with pytest.raises(RequestError) as refused:
        costs_of([block], info, [algorithm("open_loop")])
    said.add(str(refused.value))
    assert all("reset amplitude_ampere" in one and "is above 0.0001" in one for one in said)
    assert len({one.partition("ampere ")[2].partition(" ")[2] for one in said}) == 1
