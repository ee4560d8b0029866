"""A chip of fidelity circuit: the same cells, read through the tile circuit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil.address import address_with
from hil.backends import open_chip
from hil.core import Chip, CoreSettings, MvmRequest, Pulse, Window
from hil.errors import RequestError
from hil.info import Direction, MvmMode, PulseFamily

SIZE = "rows=64&cols=20&seed=5"
QUIET = f"{SIZE}&noise=off&off=drift+mismatch"
CIRCUIT = "fidelity=circuit"


def _write(chip: Chip, seed: int = 1) -> None:
    core = chip.cores[0]
    device, rows, cols = (i.ravel() for i in np.indices((2, core.info.rows, core.info.cols)))
    amplitude = np.random.default_rng(seed).integers(300, 700, device.size)
    core.program(
        Pulse.of(
            PulseFamily.RESET, device=device, rows=rows, cols=cols, amplitude=amplitude, width=1
        )
    )


def _codes(chip: Chip, batch: int = 8, seed: int = 2) -> np.ndarray:
    shape = (batch, chip.cores[0].info.rows)
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int16)


def _mvm(address: str, **request: object) -> np.ndarray:
    with open_chip(address) as chip:
        _write(chip)
        chip.cores[0].configure(CoreSettings(output_range=3))
        made = MvmRequest(input_codes=_codes(chip), **request)
        return chip.cores[0].mvm(made).output_codes.astype(int)


def test_without_wires_the_circuit_floors_what_the_pulse_fidelity_rounds() -> None:
    options = f"{QUIET}+wire&devices=1"
    rounded = _mvm(f"sim:hermes?{options}")
    floored = _mvm(f"sim:hermes?{options}&{CIRCUIT}")
    assert set(np.unique(np.abs(rounded) - np.abs(floored))) <= {0, 1}
    assert 0.3 < np.mean(rounded != floored) < 0.7


@pytest.mark.parametrize("idle", ["clamped", "disconnected"])
def test_solvers_agree_on_a_chip(idle: str) -> None:
    address = f"sim:hermes?{QUIET}&devices=1&{CIRCUIT}&idle={idle}&ohm=5"
    exact = _mvm(f"{address}&solver=exact")
    others = ["rapid", "linear"] if idle == "clamped" else ["rapid"]
    for name in others:
        assert np.abs(_mvm(f"{address}&solver={name}") - exact).max() <= 1
    ideal = _mvm(f"sim:hermes?{QUIET}+wire&devices=1&{CIRCUIT}&idle={idle}")
    assert np.abs(ideal - exact).max() > 3


def test_word_lines_take_their_part_and_vanish_with_their_resistance() -> None:
    address = f"sim:hermes?{QUIET}&devices=1&{CIRCUIT}&ohm=5&solver=linear&adc_bits=12"
    without = _mvm(address)
    assert np.abs(_mvm(f"{address}&wordline_ohm=1e-6") - without).max() <= 1
    lost = [np.linalg.norm(_mvm(f"{address}&wordline_ohm={ohm}") - without) for ohm in (5, 10)]
    assert 1.7 < lost[1] / lost[0] < 2.1
    four = _mvm(f"{address}&wordline_ohm=10", mode=MvmMode.FOUR_PHASE)
    assert np.abs(four - _mvm(f"{address}&wordline_ohm=10")).max() < 0.05 * np.abs(four).max()


def test_disconnected_idle_devices_lose_less_than_clamped_ones() -> None:
    address = f"sim:hermes?{QUIET}&devices=1&{CIRCUIT}&ohm=5&adc_bits=12"
    ideal = _mvm(f"sim:hermes?{QUIET}+wire&devices=1&{CIRCUIT}&adc_bits=12")
    clamped, apart = (
        np.linalg.norm(_mvm(f"{address}&idle={idle}") - ideal)
        for idle in ("clamped", "disconnected")
    )
    assert apart < 0.8 * clamped


@pytest.mark.parametrize("mode", [MvmMode.FOUR_PHASE, MvmMode.REFERENCE])
def test_other_modes_and_directions_answer(mode: MvmMode) -> None:
    assert _mvm(f"sim:hermes?{SIZE}&devices=1&{CIRCUIT}", mode=mode).any()
    with open_chip(f"sim:hermes?{SIZE}&devices=1&{CIRCUIT}") as chip:
        _write(chip)
        codes = np.full((2, 20), 99, np.int16)
        request = MvmRequest(input_codes=codes, direction=Direction.TRANSPOSED)
        assert chip.cores[0].mvm(request).output_codes.shape == (2, 64)


def test_four_phases_floor_every_sign_combination() -> None:
    address = f"sim:hermes?{QUIET}+wire&devices=1&{CIRCUIT}&adc_bits=8"
    one = _mvm(address, mode=MvmMode.ONE_PHASE)
    four = _mvm(address, mode=MvmMode.FOUR_PHASE)
    assert 0 < np.abs(one - four).max() <= 3


def test_a_window_sees_the_rows_around_it_as_idle() -> None:
    address = f"sim:hermes?{QUIET}&devices=1&{CIRCUIT}&ohm=5"
    for idle in ("clamped", "disconnected"):
        with open_chip(f"{address}&idle={idle}") as chip:
            _write(chip)
            codes = _codes(chip)
            codes[:, :10] = codes[:, 40:] = 0
            whole = chip.cores[0].mvm(MvmRequest(input_codes=codes)).output_codes
            window = Window(row=10, col=3, rows=30, cols=9)
            part = chip.cores[0].mvm(MvmRequest(input_codes=codes[:, 10:40], window=window))
            assert np.array_equal(part.output_codes, whole[:, 3:12])


def test_input_modes_take_their_own_time() -> None:
    times = {}
    for mode in ("one_pass", "split", "bit_serial"):
        with open_chip(f"sim:hermes?{SIZE}&{CIRCUIT}&input_mode={mode}") as chip:
            times[mode] = chip.cores[0].info.mvm_s[MvmMode.ONE_PHASE]
    assert times["one_pass"] == pytest.approx(130e-9)
    assert times["split"] == pytest.approx(30e-9)
    assert times["bit_serial"] == pytest.approx(28e-9)


def test_the_cells_are_those_of_the_chip_without_a_circuit() -> None:
    with (
        open_chip(f"sim:hermes?{SIZE}") as pulse,
        open_chip(f"sim:hermes?{SIZE}&{CIRCUIT}") as circuit,
    ):
        for chip in (pulse, circuit):
            _write(chip)
        for a, b in zip(pulse.cores, circuit.cores, strict=True):
            assert np.array_equal(
                a.array.conductance_siemens(1.0), b.array.conductance_siemens(1.0)
            )
        assert pulse.serial != circuit.serial


@pytest.mark.parametrize("off", ["read_noise", "output_noise", "wire", "mismatch"])
def test_an_effect_that_is_off_leaves_the_cells_and_the_draws_of_others(off: str) -> None:
    states = []
    for option in ("", f"&off={off}"):
        with open_chip(f"sim:hermes?{SIZE}&{CIRCUIT}{option}") as chip:
            _write(chip)
            chip.cores[0].mvm(MvmRequest(input_codes=_codes(chip)))
            _write(chip, 3)
            array = chip.cores[0].array
            states.append((array.conductance_siemens(1.0), array._streams.normal("mvm").state()))
    assert np.array_equal(states[0][0], states[1][0])
    assert np.array_equal(states[0][1], states[1][1])


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("solver=exact", "add fidelity=circuit"),
        ("idle=clamped", "add fidelity=circuit"),
        ("input_mode=split", "add fidelity=circuit"),
        (f"{CIRCUIT}&solver=fast", "solver='fast' is unknown; known: exact, rapid, linear"),
        (f"{CIRCUIT}&idle=floating", "known: clamped, disconnected"),
        (f"{CIRCUIT}&input_mode=bytes", "known: one_pass, split, bit_serial"),
        (f"{CIRCUIT}&solver=linear&idle=disconnected", "use solver=rapid or solver=exact"),
        ("wordline_ohm=1", "add fidelity=circuit"),
        (f"{CIRCUIT}&wordline_ohm=1", "use solver=linear and idle=clamped"),
        ("ohm=-1", "outside 0.0...1000.0"),
        ("ohm=nan", "outside 0.0...1000.0"),
        ("ohm=1&off=wire", "has ideal ones"),
    ],
)
def test_options_that_do_not_go_together_are_refused_with_a_sentence(
    option: str, sentence: str
) -> None:
    with pytest.raises(RequestError, match=sentence):
        open_chip(f"sim:hermes?{SIZE}&{option}")


def test_the_ideal_chip_has_no_circuit() -> None:
    with pytest.raises(RequestError, match="fidelity='circuit' is unknown"):
        open_chip(f"sim:ideal?{CIRCUIT}")
    with pytest.raises(RequestError, match="has ideal ones"):
        open_chip("sim:ideal?ohm=1")


def test_a_state_opens_only_under_its_own_fidelity_and_circuit(tmp_path: Path) -> None:
    address = f"sim:hermes?{SIZE}&serial=ONE&{CIRCUIT}&idle=disconnected"
    with open_chip(address) as chip:
        _write(chip)
        codes = _codes(chip)
        kept = chip.preserve(tmp_path)
        with open_chip(kept) as again:
            request = MvmRequest(input_codes=codes)
            first, second = (c.cores[0].mvm(request).output_codes for c in (chip, again))
            assert np.array_equal(first, second)
    with pytest.raises(RequestError, match="circuit"):
        open_chip(address_with(kept, idle="clamped"))
    with pytest.raises(RequestError, match="fidelity 'circuit', the address has 'pulse'"):
        open_chip(kept.replace(f"&{CIRCUIT}&idle=disconnected", ""))
