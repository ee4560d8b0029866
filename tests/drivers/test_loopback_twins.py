"""Loopback: any sequence of verbs gives what the chip behind it gives, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import packing
from drivers.board import LeaseTerms, open_board
from drivers.emulator import DeviceEmulator
from drivers.transport import MemoryTransport
from hil import (
    CellRead,
    Chip,
    CoreSettings,
    DeviceFaultError,
    Direction,
    HilError,
    MvmMode,
    MvmRequest,
    Pulse,
    PulseFamily,
    Window,
)
from hil.units import CodeScale

MakeChip = Callable[[], Chip]
Verb = tuple[str, Any]

rows, cols = st.integers(-1, 6), st.integers(-1, 5)  # one beyond the array at each end
places = st.lists(st.tuples(st.integers(0, 2), rows, cols), max_size=8)
windows = st.none() | st.builds(
    Window, row=rows, col=cols, rows=st.integers(0, 6), cols=st.integers(0, 5)
)
trims = st.none() | st.lists(st.integers(-301, 301), min_size=5, max_size=5).map(
    lambda v: np.array(v, np.int16)
)


@st.composite
def pulses(draw: st.DrawFn) -> Verb:
    chosen = np.array(draw(places), np.int64).reshape(-1, 3)
    request = Pulse.of(
        draw(st.sampled_from(PulseFamily)),
        device=chosen[:, 0],
        rows=chosen[:, 1],
        cols=chosen[:, 2],
        amplitude=draw(st.integers(-1, 32_767)),
        width=draw(st.integers(0, 10)),
        count=draw(st.integers(0, 201)),
    )
    return "program", request


@st.composite
def reads(draw: st.DrawFn) -> Verb:
    chosen = np.array(draw(places), np.int64).reshape(-1, 3)
    averages = draw(st.integers(0, 4097))
    return "read", CellRead.of(
        device=chosen[:, 0], rows=chosen[:, 1], cols=chosen[:, 2], averages=averages
    )


@st.composite
def mvms(draw: st.DrawFn) -> Verb:
    window, direction = draw(windows), draw(st.sampled_from(Direction))
    lines = (6, 5) if window is None else (window.rows, window.cols)
    width = lines[0 if direction is Direction.FORWARD else 1]
    batch = draw(st.integers(0, 3))
    codes = draw(st.lists(st.integers(-301, 301), min_size=batch * width, max_size=batch * width))
    return "mvm", MvmRequest(
        input_codes=np.array(codes, np.int16).reshape(batch, width),
        window=window,
        direction=direction,
        mode=draw(st.none() | st.sampled_from(MvmMode)),
    )


verbs = st.one_of(
    pulses(),
    reads(),
    mvms(),
    st.builds(
        lambda **k: ("configure", CoreSettings(**k)),
        output_range=st.none() | st.integers(-1, 2),
        gain_trim=trims,
        offset_trim=trims,
        temperature_kelvin=st.none() | st.floats(0, 500),
    ),
    st.floats(-1, 1e11).map(lambda s: ("wait", s)),
    st.sampled_from(["status", "settings", "now_s", "safe_state"]).map(lambda v: (v, None)),
)


def perform(chip: Chip, core: int, verb: Verb) -> list[Any]:
    """Return everything a verb gave: values, or the error's type, text and fields."""
    name, request = verb
    call = getattr(chip.cores[core], name)
    try:
        result = call() if request is None else call(request)
    except HilError as error:
        return [type(error), str(error), error.fields]
    return [result] if not hasattr(result, "__dict__") else list(vars(result).items())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def looped(inner: Chip) -> Chip:
    transport = MemoryTransport(DeviceEmulator(inner).receive, release=inner.close)
    return open_board(transport, address="loopback:fake", lease=LeaseTerms(lapse_s=0.0))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1), verbs), max_size=12))
def test_any_sequence_of_verbs_gives_the_same_through_frames(
    make_cells: MakeChip, sequence: list[tuple[int, Verb]]
) -> None:
    direct, framed = make_cells(), looped(make_cells())
    for core, verb in sequence:
        ours, theirs = perform(direct, core, verb), perform(framed, core, verb)
        assert len(ours) == len(theirs)
        assert all(same(a, b) for a, b in zip(ours, theirs, strict=True)), (verb, ours, theirs)


def test_one_verb_is_one_execution_however_long(make_cells: MakeChip) -> None:
    inner = make_cells()
    chip = looped(inner)
    many = np.zeros(20_000, np.int32)
    result = chip.cores[0].read(CellRead.of(device=0, rows=many, cols=many))
    assert result.codes.shape == (20_000,)
    assert inner.cores[0].executed == ["read"]  # type: ignore[attr-defined]


def test_closing_the_loopback_closes_what_is_behind(make_cells: MakeChip) -> None:
    inner = make_cells()
    with looped(inner) as chip:
        chip.wait(1.0)
    assert inner.cores[0]._closed
    assert inner.cores[1]._closed
    assert inner.cores[1].executed[-1] == "safe_state"  # type: ignore[attr-defined]


@given(st.lists(st.booleans(), max_size=40))
def test_flags_come_back(flags: list[bool]) -> None:
    array = np.array(flags, np.bool_)
    assert np.array_equal(packing.unpack_bits(packing.pack_bits(array), array.shape), array)


def test_codes_outside_their_scale_never_leave() -> None:
    scale = CodeScale(min_code=-127, max_code=127, step=1, unit="1")
    with pytest.raises(DeviceFaultError, match="leave the scale"):
        packing.pack_scale(np.array([-128]), scale)
    with pytest.raises(DeviceFaultError, match="32 bits"):
        packing.pack(np.array([0]), 0, 2**40)
