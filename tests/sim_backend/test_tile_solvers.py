"""Three solvers of one circuit: against a dense solution and each other, and their gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from hil.errors import RequestError
from sim_backend.circuit import (
    Drive,
    EffectiveTile,
    ExactSolver,
    IdleDevices,
    LinearSolver,
    LineNetwork,
    PreparedTile,
    RapidSolver,
    TileSolver,
    padding,
    tile_network,
    tile_wires,
    word_line_tile,
)

Array = npt.NDArray[np.float64]
MICRO = 1e-6
SLOTS = 127
BOTH = tuple(IdleDevices)


def _pair(rows: int, cols: int, seed: int, g_max: float = 25 * MICRO) -> tuple[Tensor, Tensor]:
    weights = np.clip(np.random.default_rng(seed).normal(0, 0.246, (rows, cols)), -1, 1)
    w = torch.from_numpy(weights)
    return w.clamp(min=0) * g_max, (-w).clamp(min=0) * g_max


def _widths(batch: int, rows: int, seed: int, *, zeros: float = 0.5) -> Tensor:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-SLOTS, SLOTS + 1, (batch, rows)) * (rng.random((batch, rows)) >= zeros)
    return torch.from_numpy(codes.astype(np.float64))


def _asymmetric(rows: int, cols: int, seed: int) -> Drive:
    """Potentials of each cell's own, symmetric about nothing."""
    rng = np.random.default_rng(seed)

    def around(volt: float) -> Tensor:
        return torch.from_numpy(volt + rng.uniform(-0.03, 0.03, (rows, cols)))

    return Drive(
        add_volt=around(0.65), subtract_volt=around(0.18), idle_volt=around(0.42), adc_volt=0.39
    )


def _network(
    rows: int, cols: int, seed: int, idle: IdleDevices, *, ohm: float = 2.0, odd_drive: bool = True
) -> LineNetwork:
    plus, minus = _pair(rows, cols, seed)
    loading = torch.from_numpy(np.random.default_rng(seed + 1).uniform(0, 3e-6, (rows, cols)))
    return tile_network(
        plus,
        minus,
        ohm_per_cell=ohm,
        idle=idle,
        drive=_asymmetric(rows, cols, seed) if odd_drive else None,
        loading_siemens=loading if odd_drive else None,
    )


def _dense_charge(network: LineNetwork, widths: Tensor, slots: int) -> Array:
    """Nodal analysis of every col in every slot, by a dense solve: knows no collapse."""
    rows, cols, ohm = network.rows, network.cols, network.ohm_per_cell
    out = np.zeros((widths.shape[0], cols))
    for col in range(cols):
        order = list(range(rows)) if bool(network.from_bottom[col]) else list(range(rows))[::-1]
        for b, vector in enumerate(widths.numpy()):
            for slot in range(slots):
                on = np.abs(vector) > slot
                g = np.where(on, network.on_siemens[:, col], network.idle_siemens[:, col])[order]
                pulsed = np.where(
                    vector > 0, network.positive_ampere[:, col], network.negative_ampere[:, col]
                )
                current = np.where(on, pulsed, network.idle_ampere[:, col])[order]
                laplace = np.diag(g)
                for k in range(rows - 1):
                    laplace[k : k + 2, k : k + 2] += np.array([[1, -1], [-1, 1]]) / ohm
                laplace[-1, -1] += 2 / ohm
                node = np.linalg.solve(laplace, current)  # potentials above that of the ADC
                out[b, col] += node[-1] * 2 / ohm * network.slot_s
    return out


def _charge(solver: TileSolver, network: LineNetwork, widths: Tensor, slots: int = SLOTS) -> Tensor:
    prepared = solver.prepare(network)
    assert isinstance(prepared, PreparedTile)
    return prepared.charge(widths, slots)


@pytest.mark.parametrize("idle", BOTH)
def test_exact_is_the_dense_solution_of_every_slot(idle: IdleDevices) -> None:
    network = _network(9, 3, 1, idle, ohm=200.0)
    widths = _widths(4, 9, 2).clamp(-7, 7)
    dense = _dense_charge(network, widths, 8)
    exact = _charge(ExactSolver(), network, widths, 8).numpy()
    np.testing.assert_allclose(exact, dense, rtol=1e-11, atol=1e-12 * np.abs(dense).max())


@pytest.mark.parametrize("ohm", [0.0, 0.15, 50.0])
def test_clamped_idle_devices_make_the_circuit_linear_in_the_widths(ohm: float) -> None:
    """One effective matrix equals the solution slot by slot: no potential changes the topology."""
    network = _network(40, 7, 3, IdleDevices.CLAMPED, ohm=ohm)
    widths = _widths(12, 40, 4)
    linear = _charge(LinearSolver(dtype=torch.float64), network, widths)
    exact = _charge(ExactSolver(), network, widths)
    assert (linear - exact).abs().max() < 1e-12 * exact.abs().max()
    assert network.fixed


def test_the_static_net_with_ideal_word_lines_is_the_same_effective_matrix() -> None:
    plus, minus = _pair(33, 6, 37)
    widths = _widths(5, 33, 38)
    for drive in (None, Drive(add_volt=0.7, subtract_volt=0.25, idle_volt=0.45, adc_volt=0.41)):
        network = tile_network(plus, minus, ohm_per_cell=30.0, drive=drive)
        lines = LinearSolver(dtype=torch.float64).prepare(network).charge(widths, SLOTS)
        net = word_line_tile(plus, minus, wires=tile_wires(30.0, 0.0), drive=drive)
        assert (net.charge(widths, SLOTS) - lines).abs().max() < 1e-10 * lines.abs().max()


def test_superposition_fails_once_idle_devices_are_disconnected() -> None:
    network = _network(40, 4, 3, IdleDevices.DISCONNECTED, ohm=20.0)
    one, other = torch.zeros(1, 40, dtype=torch.float64), torch.zeros(1, 40, dtype=torch.float64)
    one[:, :20], other[:, 20:] = 100, 100
    apart = _charge(ExactSolver(), network, one) + _charge(ExactSolver(), network, other)
    idle = _charge(ExactSolver(), network, torch.zeros_like(one))
    together = _charge(ExactSolver(), network, one + other)
    assert (together + idle - apart).abs().max() > 0.01 * together.abs().max()


def test_linear_refuses_disconnected_devices_and_names_what_to_use() -> None:
    network = _network(8, 4, 5, IdleDevices.DISCONNECTED)
    with pytest.raises(RequestError, match="use the rapid or the exact solver"):
        LinearSolver().prepare(network)


def test_rapid_is_the_linear_solver_where_the_topology_is_fixed() -> None:
    network = _network(16, 4, 6, IdleDevices.CLAMPED)
    assert isinstance(RapidSolver().prepare(network), EffectiveTile)


def _patterns(rows: int) -> dict[str, Tensor]:
    """Inputs from ordinary to what a designer would pick to break an average."""
    half, rng = rows // 2, np.random.default_rng(11)
    zero = np.zeros((1, rows))
    far, near, early, late, alternating, stripe, single = (zero.copy() for _ in range(7))
    far[:, :half], near[:, half:], alternating[:, ::2] = SLOTS, SLOTS, SLOTS
    early[:, :half], early[:, half:] = 40, 100
    late[:, :half], late[:, half:] = 100, 40
    stripe[:, 5 * rows // 12 : 7 * rows // 12] = SLOTS
    single[:, rows // 3] = SLOTS
    third = np.where(np.arange(rows) < rows // 3, 30, rng.integers(60, SLOTS + 1, rows))[None]
    return {
        "half zero": _widths(4, rows, 12).numpy(),
        "dense": _widths(4, rows, 13, zeros=0.0).numpy(),
        "rectified": _widths(4, rows, 14).abs().numpy(),
        "sparse": _widths(4, rows, 15, zeros=0.95).numpy(),
        "all on": zero + SLOTS,
        "far half": far,
        "near half": near,
        "far half first": early,
        "near half first": late,
        "every other": alternating,
        "stripe": stripe,
        "single": single,
        "a third, then the rest": third,
        "far half dense": far * rng.integers(-SLOTS, SLOTS + 1, (1, rows)) / SLOTS,
    }


def _loads(rows: int, cols: int) -> dict[str, tuple[Tensor, Tensor]]:
    plus, minus = _pair(rows, cols, 16)
    full = torch.full_like(plus, 25 * MICRO)
    sign = torch.from_numpy(np.random.default_rng(17).random((rows, cols)) < 0.5)
    stuck = torch.from_numpy(np.random.default_rng(18).random((rows, 1)) < 0.05)
    return {
        "gaussian": (plus, minus),
        "stuck rows": (torch.where(stuck, full, plus), minus),
        "all g_max, one sign": (full, torch.zeros_like(full)),
        "all g_max, random signs": (full * sign, full * ~sign),
    }


@pytest.mark.parametrize(("rows", "limit"), [(512, 0.005), (1008, 0.01)])
def test_rapid_is_near_exact_for_ordinary_and_worst_cases(rows: int, limit: float) -> None:
    """Error over full scale, the largest charge of each pattern; 25 µS devices, 0.15 ohm."""
    patterns = {name: torch.from_numpy(np.round(p)) for name, p in _patterns(rows).items()}
    widths = torch.cat(list(patterns.values()))
    for load, (plus, minus) in _loads(rows, 4).items():
        network = tile_network(plus, minus, ohm_per_cell=0.15, idle=IdleDevices.DISCONNECTED)
        exact = _charge(ExactSolver(), network, widths)
        rapid = _charge(RapidSolver(), network, widths.float()).double()
        parts = [len(p) for p in patterns.values()]
        for name, e, r in zip(patterns, exact.split(parts), rapid.split(parts), strict=True):
            assert (r - e).abs().max() < limit * e.abs().max(), (load, name)


def test_rapid_takes_any_potential_and_what_always_loads_the_line() -> None:
    network = _network(200, 6, 19, IdleDevices.DISCONNECTED, ohm=1.0)
    widths = _widths(6, 200, 20)
    exact = _charge(ExactSolver(), network, widths)
    rapid = _charge(RapidSolver(dtype=torch.float64), network, widths)
    ideal = _charge(ExactSolver(), replace(network, ohm_per_cell=0.0), widths)
    assert (ideal - exact).abs().max() > 0.03 * exact.abs().max()
    assert (rapid - exact).abs().max() < 0.003 * exact.abs().max()


def test_more_nodes_and_shorter_blocks_approach_the_exact_solution() -> None:
    plus, minus = _pair(256, 6, 21, 200 * MICRO)
    network = tile_network(plus, minus, ohm_per_cell=0.5, idle=IdleDevices.DISCONNECTED)
    widths = _widths(6, 256, 22, zeros=0.0)
    exact = _charge(ExactSolver(), network, widths)
    errors = [
        float(
            (_charge(RapidSolver(nodes=n, dtype=torch.float64), network, widths) - exact)
            .abs()
            .max()
        )
        for n in (2, 6, 18)
    ]
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 1.5


def test_what_is_on_for_the_whole_window_leaves_only_the_blocks_error() -> None:
    """All on together is one state: no interpolation. Blocks are exact to second order."""
    full = torch.full((256, 2), 25 * MICRO, dtype=torch.float64)
    errors = []
    for ohm in (0.1, 0.2, 0.4):
        network = tile_network(
            full, torch.zeros_like(full), ohm_per_cell=ohm, idle=IdleDevices.DISCONNECTED
        )
        widths = torch.full((1, 256), float(SLOTS), dtype=torch.float64)
        exact = _charge(ExactSolver(), network, widths)
        rapid = _charge(RapidSolver(dtype=torch.float64), network, widths)
        errors.append(float(((rapid - exact) / exact).abs().max()))
    assert max(errors) < 1e-4, errors


@pytest.mark.parametrize("solver", [ExactSolver(), RapidSolver(dtype=torch.float64)])
@pytest.mark.parametrize("idle", BOTH)
def test_cols_at_the_top_mirror_those_at_the_bottom(solver: TileSolver, idle: IdleDevices) -> None:
    network = _network(30, 5, 23, idle)
    widths = _widths(5, 30, 24)
    mirrored = replace(
        network,
        on_siemens=network.on_siemens.flip(0),
        idle_siemens=network.idle_siemens.flip(0),
        positive_ampere=network.positive_ampere.flip(0),
        negative_ampere=network.negative_ampere.flip(0),
        idle_ampere=network.idle_ampere.flip(0),
        from_bottom=~network.from_bottom,
    )
    straight, turned = _charge(solver, network, widths), _charge(solver, mirrored, widths.flip(1))
    assert (straight - turned).abs().max() < 1e-12 * straight.abs().max()


@pytest.mark.parametrize(
    "solver", [ExactSolver(), RapidSolver(dtype=torch.float64), LinearSolver(dtype=torch.float64)]
)
def test_some_of_the_cols_are_those_of_the_whole(solver: TileSolver) -> None:
    idle = IdleDevices.CLAMPED if isinstance(solver, LinearSolver) else IdleDevices.DISCONNECTED
    network = _network(20, 9, 25, idle)
    widths = _widths(5, 20, 26)
    whole = _charge(solver, network, widths)
    for cols in (slice(3, 8), slice(4, 5), slice(0, 9)):
        part = solver.prepare(network).only_cols(cols).charge(widths, SLOTS)
        assert (whole[:, cols] - part).abs().max() < 1e-13 * whole.abs().max()


@pytest.mark.parametrize("idle", BOTH)
def test_chunks_and_batches_do_not_change_the_charge(idle: IdleDevices) -> None:
    network = _network(20, 5, 27, idle)
    widths = _widths(9, 20, 28)
    for large, small in (
        (ExactSolver(), ExactSolver(memory_bytes=1)),
        (RapidSolver(dtype=torch.float64), RapidSolver(dtype=torch.float64, memory_bytes=1)),
    ):
        whole = _charge(large, network, widths)
        assert (_charge(small, network, widths) - whole).abs().max() < 1e-13 * whole.abs().max()
        halves = torch.cat(
            [_charge(large, network, widths[:4]), _charge(large, network, widths[4:])]
        )
        assert (halves - whole).abs().max() < 1e-13 * whole.abs().max()
        assert _charge(large, network, widths[:0]).shape == (0, 5)


def test_exact_in_single_precision_is_near_double() -> None:
    network = _network(64, 4, 29, IdleDevices.DISCONNECTED)
    widths = _widths(4, 64, 30)
    double = _charge(ExactSolver(), network, widths)
    single = _charge(ExactSolver(dtype=torch.float32), network, widths.float())
    assert single.dtype == torch.float32
    assert (single.double() - double).abs().max() < 1e-5 * double.abs().max()


def test_a_single_cell_sees_half_a_segment() -> None:
    plus = torch.full((1, 1), 1e-3, dtype=torch.float64)
    for idle in BOTH:
        network = tile_network(
            plus, 0 * plus, ohm_per_cell=100.0, idle=idle, drive=Drive(adc_volt=0.4)
        )
        charge = _charge(ExactSolver(), network, torch.full((1, 1), 5.0, dtype=torch.float64))
        assert charge.item() == pytest.approx(0.2e-3 / (1 + 50 * 1e-3) * 5e-9, rel=1e-9)


def test_no_conductance_and_no_input_give_no_charge() -> None:
    nothing = torch.zeros((6, 4), dtype=torch.float64)
    plus, minus = _pair(6, 4, 31)
    for solver in (ExactSolver(), RapidSolver()):
        empty = tile_network(nothing, nothing, ohm_per_cell=1.0, idle=IdleDevices.DISCONNECTED)
        full = tile_network(plus, minus, ohm_per_cell=1.0, idle=IdleDevices.DISCONNECTED)
        assert not _charge(solver, empty, _widths(3, 6, 32)).any()
        assert not _charge(solver, full, nothing[:, :1].T.expand(2, 6)).any()


def test_clamped_idle_devices_leave_the_offset_of_the_adc_node() -> None:
    """Half a millivolt between the idle potential and the ADC, over the whole window."""
    plus, minus = _pair(16, 4, 33)
    network = tile_network(plus, minus, ohm_per_cell=0.0)
    charge = _charge(ExactSolver(), network, torch.zeros((1, 16), dtype=torch.float64))
    expected = -0.0005 * (plus + minus).sum(0) * SLOTS * 1e-9
    torch.testing.assert_close(charge[0], expected, rtol=1e-9, atol=0.0)


def test_gradients_of_all_solvers_are_those_of_the_charge() -> None:
    generator = torch.Generator().manual_seed(34)
    shape = (5, 2)
    plus, minus = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    widths = 9 * (2 * torch.rand((1, 5), generator=generator, dtype=torch.float64) - 1)

    def charge(solver: TileSolver, idle: IdleDevices, p: Tensor, m: Tensor, w: Tensor) -> Tensor:
        network = tile_network(p * 1e-3, m * 1e-3, ohm_per_cell=40.0, idle=idle)
        return solver.prepare(network).charge(w, 9) * 1e12

    inputs = [each.requires_grad_() for each in (plus, minus, widths)]
    for solver, idle in (
        (LinearSolver(dtype=torch.float64), IdleDevices.CLAMPED),
        (ExactSolver(), IdleDevices.CLAMPED),
        (ExactSolver(), IdleDevices.DISCONNECTED),
    ):
        assert torch.autograd.gradcheck(
            lambda p, m, w, s=solver, i=idle: charge(s, i, p, m, w), inputs
        )
    whole = widths.detach().round()
    rapid = RapidSolver(dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, m: charge(rapid, IdleDevices.DISCONNECTED, p, m, whole), inputs[:2], atol=1e-4
    )


def test_rapid_gradient_by_inputs_is_the_exact_one_but_for_the_load_a_cell_is() -> None:
    network = _network(64, 4, 35, IdleDevices.DISCONNECTED, ohm=0.5, odd_drive=False)
    # apart from each other, so that no end is shared and the exact derivative exists
    rng = np.random.default_rng(36)
    ends = rng.permutation(np.arange(1, 65)) * 1.9
    widths = torch.from_numpy(ends * rng.choice([-1, 1], 64))[None]
    got = []
    for solver in (ExactSolver(), RapidSolver(dtype=torch.float64)):
        leaf = widths.clone().requires_grad_()
        _charge(solver, network, leaf).square().sum().backward()
        assert leaf.grad is not None
        got.append(leaf.grad)
    assert (got[0] - got[1]).norm() < 0.05 * got[0].norm()


def test_a_layer_stands_in_the_middle_of_its_physical_column() -> None:
    assert padding(5, 8) == (1, 2)
    assert padding(8, 8) == (0, 0)
    with pytest.raises(RequestError, match="do not fit a column of 8"):
        padding(9, 8)


def test_a_network_refuses_what_no_tile_has() -> None:
    g = torch.ones(3, 2)
    with pytest.raises(RequestError, match="below 0"):
        tile_network(g, g, ohm_per_cell=-0.1)
    with pytest.raises(RequestError, match="even number"):
        RapidSolver(nodes=3)
