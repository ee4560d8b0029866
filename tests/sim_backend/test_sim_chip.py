"""One seed makes one chip: named streams, effects that leave each other alone, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from hil.address import parse_address
from hil.backends import open_chip
from hil.core import CellRead, Chip, CoreSettings, MvmRequest, Pulse
from hil.errors import RequestError
from hil.info import BackendKind, PulseFamily
from sim_backend.opening import open_sim
from sim_backend.pcm import Effects
from sim_backend.sim_core import SimCore
from sim_backend.streams import Streams

SIZE = "rows=24&cols=20"
EFFECTS = tuple(Effects.__dataclass_fields__)


def _core(chip: Chip, index: int = 0) -> SimCore:
    core = chip.cores[index]
    assert isinstance(core, SimCore)
    return core


def _places(core: SimCore) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    info = core.info
    device, rows, cols = np.indices((info.devices_per_cell, info.rows, info.cols))
    return device.ravel(), rows.ravel(), cols.ravel()


def _reset(core: SimCore, amplitude: int | np.ndarray) -> None:
    device, rows, cols = _places(core)
    core.program(
        Pulse.of(
            PulseFamily.RESET, device=device, rows=rows, cols=cols, amplitude=amplitude, width=1
        )
    )


def _read(core: SimCore) -> np.ndarray:
    device, rows, cols = _places(core)
    return core.read(CellRead.of(device=device, rows=rows, cols=cols)).codes


def _mvm(core: SimCore) -> np.ndarray:
    codes = np.full((4, core.info.rows), 90, core.info.input.dtype)
    return core.mvm(MvmRequest(input_codes=codes)).output_codes


def _used(address: str) -> tuple[SimCore, list[np.ndarray]]:
    """Open, program, read, multiply, set a little more; return the core and all codes."""
    with open_chip(address) as chip:
        core = _core(chip)
        seen = [_read(core)]
        _reset(core, 420)
        seen += [_read(core), _mvm(core)]
        device, rows, cols = _places(core)
        core.program(
            Pulse.of(
                PulseFamily.SET, device=device, rows=rows, cols=cols, amplitude=0, width=1, count=2
            )
        )
        chip.wait(5000.0)
        seen += [_read(core), _mvm(core)]
    return core, seen


@pytest.mark.parametrize("preset", ["hermes", "aon", "pcm90", "ideal"])
def test_one_seed_is_one_chip(preset: str) -> None:
    amplitude = 60 if preset == "ideal" else 420
    runs = []
    for _ in range(2):
        with open_chip(f"sim:{preset}?{SIZE}&seed=5") as chip:
            core = _core(chip)
            _reset(core, amplitude)
            runs.append((_read(core), _mvm(core)))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1])


def test_the_whole_life_of_a_chip_repeats_from_its_seed() -> None:
    for first, second in zip(
        _used(f"sim:hermes?{SIZE}&seed=5")[1], _used(f"sim:hermes?{SIZE}&seed=5")[1], strict=True
    ):
        assert np.array_equal(first, second)


def test_another_seed_is_another_chip() -> None:
    (one, _), (other, _) = (_used(f"sim:hermes?{SIZE}&seed={seed}") for seed in (5, 6))
    assert one.info.chip_serial != other.info.chip_serial
    first, second = one.array.pcm, other.array.pcm
    for a, b in ((first._g_set, second._g_set), (first._i50, second._i50), (first._g, second._g)):
        both = torch.stack([a.flatten(), b.flatten()])
        assert abs(float(torch.corrcoef(both)[0, 1])) < 4 / both.shape[1] ** 0.5
    assert not torch.equal(one.array._cols.gain, other.array._cols.gain)


def test_cores_of_a_chip_differ_and_do_not_depend_on_their_number() -> None:
    with (
        open_chip(f"sim:hermes?{SIZE}&seed=5&cores=3") as three,
        open_chip(f"sim:hermes?{SIZE}&seed=5") as one,
    ):
        alone = _core(one).array.pcm._g_set
        assert torch.equal(alone, _core(three).array.pcm._g_set)
        assert not torch.equal(alone, _core(three, 1).array.pcm._g_set)


def test_one_more_read_never_makes_another_chip() -> None:
    """Reads and MVMs draw from streams of their own: pulses and cores come out the same."""
    states = []
    for extra in (0, 3):
        with open_chip(f"sim:hermes?{SIZE}&seed=5&cores=2") as chip:
            for _ in range(extra):
                _read(_core(chip))
                _mvm(_core(chip))
                _read(_core(chip, 1))
            _reset(_core(chip), 430)
            _reset(_core(chip, 1), 410)
            states.append([_core(chip, k).array.pcm._g.clone() for k in range(2)])
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


# What each effect may change; all else stays bit-equal when it is switched off.
FABRICATION: dict[str, Callable[[SimCore], Tensor]] = {
    "set states": lambda core: core.array.pcm._g_set,
    "reset curves": lambda core: core.array.pcm._i50,
    "slopes": lambda core: core.array.pcm._slope,
    "drift deviates": lambda core: core.array.pcm._z_nu,
    "stuck": lambda core: core.array.pcm.stuck,
    "gains": lambda core: core.array._cols.gain,
    "offsets": lambda core: core.array._cols.offset_codes,
    "row gains": lambda core: core.array._rows.gain,
}
PROGRAMMED: dict[str, Callable[[SimCore], Tensor]] = {
    "states": lambda core: core.array.pcm._g,
    "relaxation": lambda core: core.array.pcm._delta,
    "pulses": lambda core: core.array.pcm.pulses,
}
OBSERVABLES = FABRICATION | PROGRAMMED
SPREAD = {"set states", "reset curves", "slopes", "drift deviates"}
MAY_CHANGE = {
    "read_noise": set(),
    "output_noise": set(),
    "drift": set(),
    "relaxation": {"relaxation"},
    "cycle": {"states", "relaxation"},
    "spread": SPREAD | {"states", "relaxation"},
    "stuck": {"stuck", "states", "relaxation"},
    "mismatch": {"gains", "offsets", "row gains"},
    "wear": set(),
    "wire": set(),
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_switching_an_effect_off_leaves_the_others_draws(effect: str) -> None:
    cores = []
    for off in ("", f"&off={effect}"):
        with open_chip(f"sim:hermes?rows=64&cols=64&seed=9{off}") as chip:
            core = _core(chip)
            _read(core)
            _mvm(core)
            _reset(core, 430)
            cores.append(core)
    for name, observe in OBSERVABLES.items():
        if name not in MAY_CHANGE[effect]:
            assert torch.equal(observe(cores[0]), observe(cores[1])), name


def test_effects_that_make_a_difference_make_it() -> None:
    """The list above excuses nothing that is not really switched off."""
    with (
        open_chip(f"sim:hermes?{SIZE}&seed=9") as full,
        open_chip(f"sim:hermes?{SIZE}&seed=9&off={'+'.join(EFFECTS)}") as bare,
    ):
        for core in (_core(full), _core(bare)):
            _reset(core, 430)
        pcm, plain = _core(full).array.pcm, _core(bare).array.pcm
        assert float(plain._g.std()) < 1e-6
        assert float(pcm._g.std()) > 0.05
        assert not bool(plain.stuck.any())
        assert torch.equal(_core(bare).array._cols.gain, torch.ones(20))
        assert torch.equal(plain.conductance(1e9), plain._g)
        assert np.unique(_read(_core(bare))).size == 1


def test_stuck_devices_do_not_move_but_their_pulses_count() -> None:
    with open_chip("sim:hermes?rows=256&cols=256&seed=4&off=drift+relaxation") as chip:
        core = _core(chip)
        pcm = core.array.pcm
        stuck = pcm.stuck
        share = float(stuck.float().mean())
        error = (5.2e-4 / stuck.numel()) ** 0.5
        assert abs(share - 5.2e-4) < 4 * error
        before = pcm.conductance(0.0)[stuck].clone()
        assert 0 < int((before > 1).sum()) < before.numel(), "some are stuck at SET, most at RESET"
        for amplitude in (0, 430, 1023):
            _reset(core, amplitude)
            assert torch.equal(pcm.conductance(core.now_s())[stuck], before)
        device, rows, cols = _places(core)
        core.program(
            Pulse.of(
                PulseFamily.SET, device=device, rows=rows, cols=cols, amplitude=9, width=1, count=5
            )
        )
        assert torch.equal(pcm.conductance(core.now_s())[stuck], before)
        assert bool((pcm.pulses == 8).all())
        moved = (pcm.conductance(core.now_s()) > 0.1)[~stuck]
        assert float(moved.float().mean()) > 0.99


def test_a_pulse_on_one_device_moves_no_other() -> None:
    with open_chip(f"sim:hermes?{SIZE}&seed=4&off=drift+relaxation+stuck") as chip:
        core = _core(chip)
        _reset(core, 430)
        before = core.array.pcm._g.clone()
        core.program(Pulse.of(PulseFamily.RESET, device=2, rows=7, cols=3, amplitude=100, width=1))
        changed = torch.nonzero(core.array.pcm._g != before)
        assert changed.tolist() == [[2, 7, 3]]


# Temperature ------------------------------------------------------------------------------------


@pytest.fixture
def warm_chip() -> Iterator[SimCore]:
    with open_chip("sim:hermes?rows=64&cols=64&seed=4&noise=off&off=stuck+relaxation") as chip:
        core = _core(chip)
        rng = np.random.default_rng(1)
        _reset(core, rng.integers(300, 900, _places(core)[0].size))
        chip.wait(300.0)
        yield core


def _at_kelvin(core: SimCore, kelvin: float) -> Tensor:
    core.configure(CoreSettings(temperature_kelvin=kelvin))
    return core.array.conductance_siemens(core.now_s()).clone()


def test_temperature_is_set_read_back_and_reported(warm_chip: SimCore) -> None:
    warm_chip.configure(CoreSettings(temperature_kelvin=330.0))
    assert warm_chip.status().temperature_kelvin == 330.0
    assert warm_chip.settings().temperature_kelvin == 330.0
    codes = np.zeros((1, 64), warm_chip.info.input.dtype)
    assert warm_chip.mvm(MvmRequest(input_codes=codes)).temperature_kelvin == 330.0


def test_amorphous_states_conduct_more_when_hot_and_set_states_hardly_move(
    warm_chip: SimCore,
) -> None:
    cold, hot = _at_kelvin(warm_chip, 300.0), _at_kelvin(warm_chip, 330.0)
    pcm = warm_chip.array.pcm
    share = pcm._g / pcm.set_state
    live = cold > 0
    growth = (hot / cold)[live]
    assert bool((growth >= 1).all())
    assert float((growth[(share > 0.97)[live]] - 1).max()) < 0.03
    low = growth[(share < 0.02)[live]]
    arrhenius = np.exp(0.1 / 8.617333e-5 * (1 / 300 - 1 / 330))
    assert float(low.median()) == pytest.approx(arrhenius, rel=0.05)
    assert float(growth.max()) <= arrhenius * (1 + 1e-5)


def test_temperature_leaves_no_trace(warm_chip: SimCore) -> None:
    before = _at_kelvin(warm_chip, 300.0)
    assert not torch.equal(before, _at_kelvin(warm_chip, 350.0))
    assert torch.equal(before, _at_kelvin(warm_chip, 300.0))


@pytest.mark.parametrize("kelvin", [-1.0, 179.0, 401.0, float("nan")])
def test_a_temperature_that_no_model_was_fitted_for_is_refused_at_the_door(
    warm_chip: SimCore, kelvin: float
) -> None:
    with pytest.raises(RequestError, match=r"temperature_kelvin .* is outside"):
        warm_chip.configure(CoreSettings(temperature_kelvin=kelvin))
    assert warm_chip.settings().temperature_kelvin == 300.0
    with pytest.raises(RequestError, match=r"outside 180\.\.\.400, where one model"):
        warm_chip.array.pcm.conductance(warm_chip.now_s(), kelvin)


def test_an_mvm_sees_the_temperature(warm_chip: SimCore) -> None:
    first, hot, again = (_mvm_at(warm_chip, kelvin).astype(int) for kelvin in (300.0, 350.0, 300.0))
    assert np.abs(first - again).max() <= 1, "microseconds of drift"
    assert np.abs(first - hot).mean() > 3


def _mvm_at(core: SimCore, kelvin: float) -> np.ndarray:
    core.configure(CoreSettings(temperature_kelvin=kelvin))
    return _mvm(core)


def test_settings_do_not_follow_an_array_that_was_given(warm_chip: SimCore) -> None:
    trim = np.full(64, 5, np.int16)
    warm_chip.configure(CoreSettings(gain_trim=trim))
    trim[:] = 9
    in_force = warm_chip.settings().gain_trim
    assert in_force is not None
    assert (in_force == 5).all()
    in_force[:] = 7
    assert (warm_chip.array.settings.gain_trim == 5).all()


# Time -------------------------------------------------------------------------------------------


def test_an_mvm_sees_the_age_of_the_devices() -> None:
    """Outputs are those of the conductances at the time of the MVM, however often one asked."""
    with open_chip("sim:hermes?rows=64&cols=64&seed=4&noise=off&off=stuck+wire+mismatch") as chip:
        core = _core(chip)
        rng = np.random.default_rng(1)
        _reset(core, rng.integers(300, 900, _places(core)[0].size))
        core.configure(CoreSettings(output_range=4))
        step = core.info.output_step_siemens(4)
        codes = rng.integers(-127, 128, (32, 64)).astype(core.info.input.dtype)
        for wait_s in (0.0, 1e-5, 1.0, 250.0, 1e4, 1e7):
            chip.wait(wait_s)
            result = core.mvm(MvmRequest(input_codes=codes))
            g = core.array.conductance_siemens(result.at_s).double().numpy()
            exact = core.info.input.to_si(codes) @ (g[:2].sum(0) - g[2:].sum(0)) / step
            inside = ~result.saturated
            assert np.abs(result.output_codes - exact)[inside].max() < 0.52


def test_an_mvm_sees_every_pulse() -> None:
    """Also when each MVM follows its pulses at the same age as the one before."""
    with open_chip(f"sim:hermes?{SIZE}&seed=4&noise=off&off=mismatch+wire") as chip:
        core = _core(chip)
        rng = np.random.default_rng(3)
        step = core.info.output_step_siemens(5)
        core.configure(CoreSettings(output_range=5))
        codes = rng.integers(-127, 128, (16, 24)).astype(core.info.input.dtype)
        for _ in range(3):
            _reset(core, rng.integers(350, 800, _places(core)[0].size))
            result = core.mvm(MvmRequest(input_codes=codes))
            g = core.array.conductance_siemens(result.at_s).double().numpy()
            exact = core.info.input.to_si(codes) @ (g[:2].sum(0) - g[2:].sum(0)) / step
            inside = ~result.saturated
            assert np.abs(result.output_codes - exact)[inside].max() < 0.52


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sim:hermis", ("unknown preset 'hermis'", "hermes", "ideal")),
        ("sim:hermes?rows=0", ("rows=0", "1...4096")),
        ("sim:hermes?devices=3", ("devices='3'", "2, 1")),
        ("sim:aon?devices=2", ("devices='2'", "1")),
        ("sim:hermes?adc_bits=1", ("adc_bits=1", "2...12")),
        ("sim:hermes?cores=65", ("cores=65", "1...64")),
        ("sim:hermes?off=noise", ("off='noise' is no effect", "read_noise")),
        ("sim:hermes?noise=maybe", ("noise='maybe'", "on, off")),
        ("sim:hermes?gmax=3", ("unknown option 'gmax'", "adc_bits")),
        ("sim:hermes?compute=tpu", ("compute='tpu'", "cpu, cuda")),
        ("sim:hermes?seed=-1", ("seed=-1",)),
    ],
)
def test_wrong_addresses_are_refused_in_one_sentence(address: str, words: tuple[str, ...]) -> None:
    with pytest.raises(RequestError) as refused:
        open_chip(address)
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


def test_cuda_without_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="torch sees no CUDA device; use compute=cpu"):
        open_sim(parse_address("sim:hermes?compute=cuda"))


def test_a_simulated_chip_says_so() -> None:
    with open_chip(f"sim:aon?{SIZE}&seed=3&adc_bits=10&serial=BENCH-4") as chip:
        assert chip.backend is BackendKind.SIM
        assert chip.serial == "BENCH-4"
        info = chip.cores[0].info
        assert (info.rows, info.cols, info.devices_per_polarity) == (24, 20, 1)
        assert info.output_codes.max_code == 511
        assert info.device.g_max_siemens == pytest.approx(5e-6)
        assert (np.diff(info.device.reset_siemens) <= 0).all()


def test_streams_are_independent_by_seed_core_and_name() -> None:
    cpu = torch.device("cpu")

    def first(seed: int, core: int, name: str) -> Tensor:
        return torch.randn(2000, generator=Streams(seed, core, cpu)[name])

    drawn = [first(1, 0, "a"), first(1, 0, "b"), first(1, 1, "a"), first(2, 0, "a")]
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(4)
    assert float(correlation.abs().max()) < 4 / 2000**0.5
    assert torch.equal(drawn[0], first(1, 0, "a"))


def test_one_stream_does_not_move_another() -> None:
    cpu = torch.device("cpu")
    quiet, busy = Streams(1, 0, cpu), Streams(1, 0, cpu)
    torch.randn(100, generator=busy["read"])
    assert torch.equal(
        torch.randn(50, generator=quiet["programming"]),
        torch.randn(50, generator=busy["programming"]),
    )
