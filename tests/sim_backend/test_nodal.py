"""The static net: laws of circuits, against a plain nodal solution in many digits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.errors import RequestError
from sim_backend.circuit import NetCache, NetWires, ReadEnds, effective_net, net_state

UNIFORM = NetWires.uniform(1.0)
PAIR = NetWires(word_ohm=2.0, bit_ohm=0.35, source_ohm=50.0, read_ohm=10.0)
COARSE = NetWires(word_ohm=100.0, bit_ohm=70.0, source_ohm=0.0, read_ohm=0.0)


def random_siemens(shape, seed=0, decades=(-9.0, -3.0), open_share=0.0):
    generator = torch.Generator().manual_seed(seed)
    exponent = torch.empty(shape, dtype=torch.float64).uniform_(*decades, generator=generator)
    is_open = torch.rand(shape, generator=generator) < open_share
    return torch.where(is_open, 0.0, 10.0**exponent)


def exact(g, wires):
    """Return G_eff in longdouble by the currents: (1 + R g) drop = drive, R the line resistances.

    Nothing of the solver's method is in it: every device is one unknown, resistances add up.
    """
    lines, rows, cols = g.shape
    line, row, col = (axis.ravel() for axis in np.indices(g.shape))
    top = wires.read_at_first_row(cols).numpy()[col]
    word = wires.source_ohm + wires.word_ohm * np.minimum(col[:, None], col).astype(np.longdouble)
    near = np.where(top, np.minimum(row[:, None], row), rows - 1 - np.maximum(row[:, None], row))
    bit = wires.read_ohm + wires.bit_ohm * near.astype(np.longdouble)
    same_line = (line[:, None] == line) & (row[:, None] == row)
    shared = np.where(same_line, word, 0.0) + np.where(col[:, None] == col, bit, 0.0)
    siemens = g.numpy().ravel().astype(np.longdouble)
    drive = (line * rows + row)[:, None] == np.arange(lines * rows)
    drop = solved(shared * siemens + np.eye(len(siemens)), drive.astype(np.longdouble))
    current = (siemens[:, None] * drop).reshape(lines * rows, cols, lines * rows)
    return current.sum(0).T.reshape(lines, rows, cols)


def solved(matrix, right):
    """Gauss with row exchange; LAPACK has no long double."""
    a, x = matrix.copy(), right.copy()
    n = len(a)
    for i in range(n):
        pivot = i + int(np.argmax(np.abs(a[i:, i])))
        a[[i, pivot]], x[[i, pivot]] = a[[pivot, i]], x[[pivot, i]]
        factor = a[i + 1 :, i] / a[i, i]
        a[i + 1 :] -= factor[:, None] * a[i]
        x[i + 1 :] -= factor[:, None] * x[i]
    for i in range(n)[::-1]:
        x[i] = (x[i] - a[i, i + 1 :] @ x[i + 1 :]) / a[i, i]
    return x


def worst_share(found, expected):
    """Largest error of an entry over the largest entry of its word line."""
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    return float((np.abs(found.numpy() - expected) / np.where(scale > 0.0, scale, 1.0)).max())


@pytest.mark.parametrize("ends", ReadEnds)
@pytest.mark.parametrize("ohm", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(1, 7, 9), (2, 5, 6), (1, 1, 11), (2, 13, 1)])
def test_effective_matrix_is_exact_over_six_decades_of_conductance(shape, ohm, ends):
    g = random_siemens(shape, seed=sum(shape), open_share=0.1)
    wires = NetWires(
        word_ohm=ohm, bit_ohm=0.7 * ohm, source_ohm=3 * ohm, read_ohm=0.2 * ohm, ends=ends
    )
    assert worst_share(effective_net(g, wires).siemens, exact(g, wires)) < 1e-13


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**32),
    ohms=st.lists(st.sampled_from([0.0, 0.01, 1.0, 100.0]), min_size=4, max_size=4),
    ends=st.sampled_from(ReadEnds),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_mix_of_ideal_and_resistive_wires_is_exact(shape, seed, ohms, ends):
    g = random_siemens(shape, seed=seed, open_share=0.2)
    names = ("word_ohm", "bit_ohm", "source_ohm", "read_ohm")
    wires = NetWires(**dict(zip(names, ohms, strict=True)), ends=ends)
    assert worst_share(effective_net(g, wires).siemens, exact(g, wires)) < 1e-13


def test_ideal_wires_give_the_conductances_themselves():
    g = random_siemens((2, 12, 10), open_share=0.2)
    found = effective_net(g, NetWires()).siemens
    torch.testing.assert_close(found, g, rtol=1e-14, atol=0.0)


def test_small_resistance_changes_the_matrix_in_proportion():
    g = random_siemens((1, 16, 12), decades=(-6.0, -4.0))
    drop = [
        (g - effective_net(g, NetWires.uniform(ohm)).siemens).norm() for ohm in (1e-6, 1e-4, 1e-2)
    ]
    assert float(drop[1] / drop[0]) == pytest.approx(100.0, rel=1e-3)
    assert float(drop[2] / drop[1]) == pytest.approx(100.0, rel=1e-1)


def test_word_resistance_tends_to_the_ideal_word_line():
    g = random_siemens((1, 24, 20), decades=(-6.0, -4.0))
    ideal = effective_net(g, NetWires(bit_ohm=1.0, read_ohm=1.0)).siemens
    for ohm in (1e-2, 1e-5, 1e-8, 1e-11):
        near = effective_net(g, NetWires(word_ohm=ohm, bit_ohm=1.0, read_ohm=1.0)).siemens
        assert float(((near - ideal) / ideal).abs().max()) < 1.0e-1 * ohm + 1e-14


@pytest.mark.parametrize("shape", [(1, 23, 31), (2, 16, 9)])
@pytest.mark.parametrize("wires", [UNIFORM, PAIR, COARSE])
def test_current_is_conserved_at_every_node(shape, wires):
    g = random_siemens(shape, decades=(-6.0, -3.5), open_share=0.1)
    lines, rows, cols = shape
    generator = torch.Generator().manual_seed(1)
    drive = torch.rand(3, lines, rows, generator=generator, dtype=torch.float64) - 0.5
    read = 0.1 * torch.rand(3, cols, generator=generator, dtype=torch.float64)
    state = net_state(g, wires, drive, read)
    word, bit, device = state.word_volt, state.bit_volt, state.device_ampere
    scale = float(device.abs().max())
    beyond = device.flip(-1).cumsum(-1).flip(-1)  # what a word line still has to deliver
    fall = word[..., :-1] - word[..., 1:]
    torch.testing.assert_close(fall, wires.word_ohm * beyond[..., 1:], rtol=0, atol=1e-13)
    first = drive - wires.source_ohm * beyond[..., 0]
    torch.testing.assert_close(word[..., 0], first, rtol=0, atol=1e-13)
    into = device.sum(1)
    at_top = wires.read_at_first_row(cols)
    down = into.cumsum(1)  # of a col read at the bottom, what flows below a row
    up = into.flip(1).cumsum(1).flip(1)
    rise = bit[:, :-1] - bit[:, 1:]
    flow = torch.where(at_top, -up[:, 1:], down[:, :-1])
    torch.testing.assert_close(rise, wires.bit_ohm * flow, rtol=0, atol=1e-13)
    end = torch.where(at_top, bit[:, 0], bit[:, -1])
    torch.testing.assert_close(end, read + wires.read_ohm * into.sum(1), rtol=0, atol=1e-13)
    torch.testing.assert_close(device, g * (word - bit[:, None]), rtol=0, atol=1e-13 * scale)


def test_outputs_of_the_state_are_the_effective_matrix_times_the_inputs():
    g = random_siemens((2, 20, 14), decades=(-6.0, -4.0))
    drive = torch.rand(5, 2, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    one_product = effective_net(g, PAIR).currents(drive, read_volt=0.3)
    nodes = net_state(g, PAIR, drive, 0.3).output_ampere
    torch.testing.assert_close(nodes, one_product, rtol=1e-12, atol=1e-12 * 1e-4)


def test_a_common_voltage_drives_no_current():
    net = effective_net(random_siemens((2, 9, 8)), COARSE)
    assert float(net.currents(torch.full((1, 2, 9), 0.4), read_volt=0.4).abs().max()) < 1e-9
    even = net.currents(torch.full((1, 2, 9), 0.4, dtype=torch.float64), read_volt=0.4)
    assert torch.equal(even, torch.zeros_like(even))


def test_the_net_is_reciprocal():
    g = random_siemens((1, 11, 17), decades=(-6.0, -4.0))
    wires = NetWires(word_ohm=3.0, bit_ohm=5.0, source_ohm=7.0, read_ohm=2.0, ends=ReadEnds.BOTTOM)
    turned = NetWires(word_ohm=5.0, bit_ohm=3.0, source_ohm=2.0, read_ohm=7.0, ends=ReadEnds.BOTTOM)
    there = effective_net(g, wires).siemens[0]
    mirrored = g.flip(1, 2).mT.contiguous()  # converter and driver change places
    back = effective_net(mirrored, turned).siemens[0]
    torch.testing.assert_close(back.flip(0, 1).mT, there, rtol=1e-12, atol=0.0)


def test_equal_devices_of_a_pair_cancel():
    one = random_siemens((1, 10, 6), decades=(-6.0, -4.0))
    net = effective_net(one.expand(2, -1, -1), PAIR)
    assert float(net.differential_siemens.abs().max()) < 1e-15 * float(one.max())


def test_the_idle_device_of_a_pair_loads_the_line():
    plus = random_siemens((1, 64, 4), decades=(-5.0, -4.0))
    alone = effective_net(torch.cat([plus, torch.zeros_like(plus)]), PAIR).siemens[0]
    loaded = effective_net(torch.cat([plus, plus]), PAIR).siemens[0]
    assert bool((loaded < alone).all())


def test_padding_is_invisible():
    g = random_siemens((1, 11, 13), decades=(-6.0, -4.0))
    wider = torch.zeros(1, 12, 14, dtype=torch.float64)
    wider[:, :11, :13] = g
    wires = NetWires(word_ohm=3.0, bit_ohm=0.0, source_ohm=2.0, read_ohm=1.0)
    alone = effective_net(g, wires).siemens
    torch.testing.assert_close(
        effective_net(wider, wires).siemens[:, :11, :13], alone, rtol=1e-13, atol=0.0
    )


def test_a_batch_is_its_vectors():
    net = effective_net(random_siemens((2, 9, 8)), PAIR)
    drive = torch.rand(6, 2, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole = net.currents(drive)
    torch.testing.assert_close(whole, torch.cat([net.currents(drive[:2]), net.currents(drive[2:])]))


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3, 2)])
@pytest.mark.parametrize("wires", [PAIR, COARSE])
def test_gradient_is_that_of_the_net(shape, wires):
    micro = 1e6 * random_siemens(shape, decades=(-5.0, -3.0))

    def matrix(micro_siemens):
        return 1e6 * effective_net(1e-6 * micro_siemens, wires).siemens

    assert torch.autograd.gradcheck(matrix, micro.requires_grad_(), eps=1e-4, atol=1e-7, rtol=1e-6)


def test_gradient_reaches_an_open_device():
    g = random_siemens((1, 4, 4), decades=(-5.0, -4.0))
    g[0, 1, 2] = 0.0
    g.requires_grad_()
    effective_net(g, COARSE).siemens.sum().backward()
    step = torch.zeros_like(g)
    step[0, 1, 2] = 1e-10
    with torch.no_grad():
        change = effective_net(g + step, COARSE).siemens - effective_net(g, COARSE).siemens
    assert float(change.sum()) / 1e-10 == pytest.approx(float(g.grad[0, 1, 2]), rel=1e-4)


def test_single_precision_conductances_get_gradients_in_single_precision():
    g = random_siemens((3, 3), decades=(-5.0, -4.0)).float().requires_grad_()
    found = effective_net(g, UNIFORM).siemens
    found.sum().backward()
    assert found.dtype is torch.float64
    assert g.grad.dtype is torch.float32


def test_cache_solves_anew_only_when_the_conductances_change():
    cache, g = NetCache(), random_siemens((6, 5))
    first = cache.of(g, UNIFORM)
    assert cache.of(g, UNIFORM) is first
    g[2, 2] *= 2.0
    second = cache.of(g, UNIFORM)
    assert second is not first
    assert not torch.equal(second.siemens, first.siemens)
    assert cache.of(g, PAIR) is not second
    assert cache.of(g.clone(), PAIR) is not cache.of(g, PAIR)


def test_cache_keeps_no_graph():
    cache, g = NetCache(), random_siemens((4, 4)).requires_grad_()
    for _ in range(2):
        cache.of(g, UNIFORM).siemens.sum().backward()
    with torch.no_grad():
        assert cache.of(g, UNIFORM) is cache.of(g, UNIFORM)


@pytest.mark.parametrize("bad", [-1e-9, float("nan"), float("inf")])
def test_impossible_conductances_are_refused(bad):
    g = random_siemens((3, 3))
    g[1, 1] = bad
    with pytest.raises(RequestError, match="outside 0"):
        effective_net(g, UNIFORM)


def test_requests_that_fit_no_net_are_refused():
    with pytest.raises(RequestError, match="are no net"):
        effective_net(torch.zeros(0, 3), UNIFORM)
    with pytest.raises(RequestError, match="no resistance"):
        NetWires(word_ohm=-1.0)
    with pytest.raises(RequestError, match="are no pair"):
        _ = effective_net(random_siemens((3, 3)), UNIFORM).differential_siemens
    with pytest.raises(RequestError, match="fits no net"):
        net_state(random_siemens((3, 3)), UNIFORM, torch.zeros(1, 1, 4))
    with pytest.raises(RequestError, match="neither a voltage"):
        net_state(random_siemens((3, 3)), UNIFORM, torch.zeros(1, 1, 3), torch.zeros(2, 3))


def test_conductances_are_left_as_they_were():
    g = random_siemens((5, 5))
    before = g.clone()
    effective_net(g, UNIFORM)
    net_state(g, UNIFORM, torch.ones(1, 1, 5))
    assert torch.equal(g, before)
