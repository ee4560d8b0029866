"""Passes, oscillators and read noise by integration time: from input codes to counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hil.errors import RequestError
from sim_backend.circuit import ExactSolver, IdleDevices, tile_network
from sim_backend.circuit.options import CircuitOptions, SolverName
from sim_backend.circuit.oscillator import PUBLISHED_COUNT_COULOMB, Floor, counts
from sim_backend.circuit.passes import InputMode, passes, windows
from sim_backend.circuit.read_noise import INTEGRATION_NOISE, mean_on_ns
from sim_backend.circuit.readout import Adc, CircuitReadout, Draws, TileDevices
from sim_backend.deviates import HostNormal

MAX_CODE = 127
NOISE = INTEGRATION_NOISE["hermes"]


def _codes(batch: int, rows: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-MAX_CODE, MAX_CODE + 1, (batch, rows))).float()


@pytest.mark.parametrize("mode", tuple(InputMode))
@pytest.mark.parametrize("max_code", [1, 3, 7, 127])
def test_passes_add_up_to_the_code_and_fit_their_windows(mode: InputMode, max_code: int) -> None:
    codes = torch.arange(-max_code, max_code + 1).float()[None]
    made = list(passes(codes, mode, max_code))
    assert torch.equal(sum((p.factor * p.widths for p in made), 0 * codes), codes)
    for each, (slots, factor) in zip(made, windows(mode, max_code), strict=True):
        assert (each.slots, each.factor) == (slots, factor)
        assert bool((each.widths.abs() <= slots).all())
        assert bool((each.widths * codes >= 0).all())


def test_windows_are_those_of_the_published_modes() -> None:
    assert windows(InputMode.ONE_PASS, 127) == ((127, 1),)
    assert windows(InputMode.SPLIT, 127) == ((8, 1), (16, 8))
    assert windows(InputMode.BIT_SERIAL, 127) == tuple((1, 2**bit) for bit in range(7))


def test_an_oscillator_loses_what_it_has_not_finished_on_either_side_of_zero() -> None:
    charge = torch.tensor([-2.9, -1.0, -0.99, 0.0, 0.99, 1.0, 2.9], dtype=torch.float64)
    assert counts(charge).tolist() == [-2, -1, 0, 0, 0, 1, 2]
    assert pytest.approx(16.0e-15, rel=0.002) == PUBLISHED_COUNT_COULOMB


def test_gradients_pass_the_floor_only_where_that_is_asked_for() -> None:
    slopes = []
    for floor in Floor:
        charge = torch.tensor([0.4, 3.7], requires_grad=True)
        counts(charge, floor).sum().backward()
        assert charge.grad is not None
        slopes.append(charge.grad.tolist())
    assert slopes == [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("time_ns", "slope", "offset"),
    [(1.0, 0.0258, 0.118), (10.0, 0.0161, 0.073), (50.0, 0.0125, 0.056), (127.0, 0.0109, 0.049)],
)
def test_read_noise_has_the_published_values(time_ns: float, slope: float, offset: float) -> None:
    sigma = NOISE.sigma_siemens(torch.tensor([[0.0, 10e-6, -10e-6]]), time_ns)[0] * 1e6
    assert float(sigma[0]) == pytest.approx(offset, abs=5.1e-4)
    assert float(sigma[1] - sigma[0]) == pytest.approx(10 * slope, abs=5.1e-4)
    assert sigma[1] == sigma[2]


@pytest.mark.parametrize("time_ns", [0.5, 128.0])
def test_read_noise_is_refused_outside_its_fitted_range(time_ns: float) -> None:
    with pytest.raises(RequestError, match="fitted range of 1 to 127 ns"):
        NOISE.sigma_siemens(torch.zeros(1, 1), time_ns)


def test_the_mean_integration_time_is_of_the_inputs_that_are_on() -> None:
    widths = torch.tensor([[0.0, -10.0, 30.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    mean, some = mean_on_ns(widths, 1e-9)
    assert some.tolist() == [True, False, True]
    torch.testing.assert_close(mean, torch.tensor([20.0, 1.0]))


def _devices(rows: int, cols: int, seed: int, *, variance: float = 0.0) -> TileDevices:
    rng = np.random.default_rng(seed)
    plus, minus = torch.from_numpy(rng.uniform(0, 20e-6, (2, rows, cols)).astype(np.float32))
    each = torch.full((rows, cols), variance)
    return TileDevices(
        plus_siemens=plus, minus_siemens=minus, plus_variance=each, minus_variance=each
    )


def _readout(
    *,
    mode: InputMode = InputMode.ONE_PASS,
    idle: IdleDevices = IdleDevices.CLAMPED,
    noise: bool = False,
) -> CircuitReadout:
    return CircuitReadout(
        options=CircuitOptions(input_mode=mode, idle=idle, solver=SolverName.EXACT),
        ohm_per_cell=2.0,
        max_code=MAX_CODE,
        noise=NOISE if noise else None,
    )


def _adc(cols: int, *, count: float, noise: float = 0.0, offset: float = 0.0) -> Adc:
    return Adc(
        gain=torch.linspace(0.8, 1.2, cols),
        offset_counts=torch.full((cols,), offset),
        noise_variance=torch.tensor([noise**2]),
        count_coulomb=count,
    )


def _draws(seed: int = 1) -> Draws:
    return Draws(conversion=HostNormal(seed), shared=HostNormal(seed + 1))


FINE = 1e-19
"""A count so small that its floor does not matter, C."""


@pytest.mark.parametrize("idle", tuple(IdleDevices))
def test_one_pass_counts_are_the_floored_charge(idle: IdleDevices) -> None:
    devices, codes, adc = _devices(20, 6, 2), _codes(8, 20, 3), _adc(6, count=16e-15, offset=0.3)
    tile = _readout(idle=idle).prepare(devices)
    got = tile.one_phase(codes, slice(0, 6), adc, _draws())
    network = tile_network(
        devices.plus_siemens,
        devices.minus_siemens,
        ohm_per_cell=2.0,
        idle=idle,
        drive=CircuitOptions().drive,
    )
    charge = ExactSolver().prepare(network).charge(codes, MAX_CODE)
    expected = (charge * adc.gain / 16e-15 + 0.3).trunc()
    assert (got - expected).abs().max() <= 1  # where rounding falls on a whole count
    assert ((got != expected).float().mean()) < 0.02


@pytest.mark.parametrize("mode", [InputMode.SPLIT, InputMode.BIT_SERIAL])
def test_modes_agree_but_for_the_floors_where_the_circuit_is_linear(mode: InputMode) -> None:
    devices, codes = _devices(20, 6, 4), _codes(8, 20, 5)
    fine, coarse = _adc(6, count=FINE), _adc(6, count=16e-15)
    whole = _readout().prepare(devices).one_phase(codes, slice(0, 6), fine, _draws())
    parts = _readout(mode=mode).prepare(devices)
    most = sum(factor for _, factor in windows(mode, MAX_CODE))
    again = parts.one_phase(codes, slice(0, 6), fine, _draws())
    assert (again - whole).abs().max() < most + 1e-5 * whole.abs().max()
    lost = whole * (FINE / 16e-15) - parts.one_phase(codes, slice(0, 6), coarse, _draws())
    assert lost.abs().max() < most + 0.1
    assert lost.abs().max() > 2, "every pass pays its own floor"


def test_the_topology_depends_on_the_mode_where_idle_devices_are_disconnected() -> None:
    devices, codes = _devices(60, 4, 6), _codes(4, 60, 7)
    fine = _adc(4, count=FINE)
    whole, bits = (
        _readout(mode=mode, idle=IdleDevices.DISCONNECTED)
        .prepare(devices)
        .one_phase(codes, slice(0, 4), fine, _draws())
        for mode in (InputMode.ONE_PASS, InputMode.BIT_SERIAL)
    )
    assert (bits - whole).abs().max() > 1e-3 * whole.abs().max()


def test_four_phases_see_one_phase_and_lose_an_offset() -> None:
    """Clamped and without wires both are the product; the four conversions cancel the offset."""
    devices, codes = _devices(20, 6, 8), _codes(8, 20, 9)
    fine = _adc(6, count=FINE, offset=5e4)
    tile = _readout().prepare(devices)
    one, four = (
        read(codes, slice(0, 6), fine, _draws()) for read in (tile.one_phase, tile.four_phase)
    )
    zero = tile.one_phase(0 * codes, slice(0, 6), fine, _draws())
    # the four phases read with one polarity of the voltage, against the same shares
    assert ((one - zero) - four).abs().max() < 1e-4 * one.abs().max() + 4
    assert (tile.four_phase(0 * codes, slice(0, 6), fine, _draws()) == 0).all()


def test_a_window_of_cols_counts_what_the_whole_counts() -> None:
    devices, codes, adc = _devices(20, 9, 10), _codes(8, 20, 11), _adc(9, count=16e-15)
    for idle in IdleDevices:
        tile = _readout(idle=idle).prepare(devices)
        part = Adc(
            gain=adc.gain[2:7],
            offset_counts=adc.offset_counts[2:7],
            noise_variance=adc.noise_variance,
            count_coulomb=adc.count_coulomb,
        )
        whole = tile.one_phase(codes, slice(0, 9), adc, _draws())
        assert torch.equal(tile.one_phase(codes, slice(2, 7), part, _draws()), whole[:, 2:7])


def test_the_charge_of_a_count_follows_the_step_of_the_output_range() -> None:
    """A col of one cell that conducts a step, fully on, gives one count; 0.63 µS is the 16 fC."""
    readout = _readout()
    step = 0.63e-6
    assert readout.count_coulomb(step) == pytest.approx(PUBLISHED_COUNT_COULOMB, rel=0.01)
    zero = torch.zeros(1, 1)
    devices = TileDevices(
        plus_siemens=zero + 1.001 * step,
        minus_siemens=zero,
        plus_variance=zero,
        minus_variance=zero,
    )
    adc = Adc(
        gain=torch.ones(1),
        offset_counts=torch.zeros(1),
        noise_variance=torch.zeros(1),
        count_coulomb=readout.count_coulomb(step),
    )
    got = readout.prepare(devices).one_phase(zero + 127, slice(0, 1), adc, _draws())
    assert got.item() == 1


@pytest.mark.statistical
@pytest.mark.parametrize("mode", tuple(InputMode))
def test_noise_that_devices_keep_through_an_mvm_has_the_variance_of_the_whole_code(
    mode: InputMode,
) -> None:
    sigma = 0.3e-6
    devices, codes = _devices(12, 3, 12, variance=sigma**2), _codes(1, 12, 13).repeat(4000, 1)
    tile = _readout(mode=mode).prepare(devices)
    fine = _adc(3, count=FINE)
    got = tile.one_phase(codes, slice(0, 3), fine, _draws()) * FINE / fine.gain
    # 2 sigma^2 a cell, 0.2 V, 1 ns a slot; the wires of 12 cells take less than 1 %
    expected = (codes[0].square().sum() * 2 * (sigma * 0.2e-9) ** 2) ** 0.5
    spread = got.std(0)
    assert ((spread / expected - 1).abs() < 4 / (2 * 4000) ** 0.5 + 0.01).all()


@pytest.mark.statistical
def test_noise_by_integration_time_is_drawn_for_every_cell_and_pass() -> None:
    devices, codes = _devices(12, 3, 14), _codes(1, 12, 15).repeat(4000, 1)
    fine = _adc(3, count=FINE)
    net = devices.plus_siemens - devices.minus_siemens
    for mode in (InputMode.ONE_PASS, InputMode.SPLIT):
        tile = _readout(mode=mode, noise=True).prepare(devices)
        got = tile.one_phase(codes, slice(0, 3), fine, _draws()) * FINE / fine.gain
        variance = torch.zeros(3)
        for each in passes(codes[:1], mode, MAX_CODE):
            time, _ = mean_on_ns(each.widths, 1e-9)
            sigma = NOISE.sigma_siemens(net, float(time))
            charge = each.factor * each.widths[0, :, None] * sigma * 0.2e-9
            variance += charge.square().sum(0)
        assert ((got.std(0) / variance.sqrt() - 1).abs() < 4 / (2 * 4000) ** 0.5 + 0.01).all()


@pytest.mark.statistical
@pytest.mark.parametrize("mode", tuple(InputMode))
def test_converter_noise_grows_with_the_root_of_each_window(mode: InputMode) -> None:
    tile = _readout(mode=mode).prepare(_devices(4, 3, 16))
    adc = _adc(3, count=1e-20, noise=3e4)
    got = tile.one_phase(torch.zeros(6000, 4), slice(0, 3), adc, _draws())
    variance = sum(factor**2 * slots / MAX_CODE for slots, factor in windows(mode, MAX_CODE))
    expected = 3e4 * variance**0.5
    assert ((got.std(0) / expected - 1).abs() < 4 / (2 * 6000) ** 0.5).all()


def test_a_solver_that_cannot_solve_the_circuit_is_refused() -> None:
    with pytest.raises(RequestError, match="use solver=rapid or solver=exact"):
        CircuitOptions(solver=SolverName.LINEAR, idle=IdleDevices.DISCONNECTED)
