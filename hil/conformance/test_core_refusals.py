"""What every core refuses: before any I/O, unseen by observers, in the same words everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hil import (
    CellRead,
    Chip,
    Core,
    CoreInfo,
    CoreSettings,
    Direction,
    MvmRequest,
    PulseFamily,
    RequestError,
    Window,
)
from hil.conformance.requests import counters, one_pulse
from hil.conformance.words import words_of
from hil.core import VerbEvent
from hil.info import Capability, MvmMode

Call = Callable[[Core], object]


def zeros(info: CoreInfo, batch: int = 1) -> np.ndarray[Any, Any]:
    return np.zeros((batch, info.rows), np.int16)


def mvm_with(value: int | Callable[[CoreInfo], int]) -> Call:
    def call(core: Core) -> object:
        codes = zeros(core.info).astype(np.int64)
        codes[0, -1] = value if isinstance(value, int) else value(core.info)
        return core.mvm(MvmRequest(input_codes=codes))

    return call


def mvm_of(make: Callable[[CoreInfo], Any]) -> Call:
    return lambda core: core.mvm(MvmRequest(input_codes=make(core.info)))


def mvm_window(make: Callable[[CoreInfo], Window]) -> Call:
    def call(core: Core) -> object:
        window = make(core.info)
        codes = np.zeros((1, max(window.rows, 0)), np.int16)
        return core.mvm(MvmRequest(input_codes=codes, window=window))

    return call


def pulse_with(make: Callable[[CoreInfo], dict[str, Any]]) -> Call:
    return lambda core: core.program(one_pulse(core.info, **make(core.info)))


def trim_with(name: str, make: Callable[[CoreInfo], Any]) -> Call:
    return lambda core: core.configure(CoreSettings(**{name: make(core.info)}))


def ragged(core: Core) -> object:
    pulse = one_pulse(core.info, rows=[0, 1])
    return core.program(replace(pulse, cols=pulse.cols[:1]))


def over_trim(info: CoreInfo) -> np.ndarray[Any, Any]:
    high = 99 if info.gain_trim is None else info.gain_trim.max_code + 1
    return np.full(info.cols, high, np.int16)


REFUSED: dict[str, tuple[Call, str]] = {
    "input code too low": (
        mvm_with(lambda i: i.input.min_code - 1),
        r"input_code -?\d+ is outside -?\d+\.\.\.-?\d+ \(info.input, \d+ bits\)",
    ),
    "input code too high": (
        mvm_with(lambda i: i.input.max_code + 1),
        r"input_code -?\d+ is outside",
    ),
    "lowest int32": (mvm_with(-(2**31)), r"input_code -2147483648 is outside"),
    "highest int64": (mvm_with(2**63 - 1), r"input_code 9223372036854775807 is outside"),
    "one row too few": (mvm_of(lambda i: zeros(i)[:, 1:]), r"input_codes has shape .* is needed"),
    "no batch axis": (mvm_of(lambda i: zeros(i)[0]), r"input_codes has shape .* is needed"),
    "float inputs": (mvm_of(lambda i: zeros(i) * 1.0), r"float64; give a numpy integer array"),
    "bool inputs": (mvm_of(lambda i: zeros(i) > 0), r"bool; give a numpy integer array"),
    "list inputs": (mvm_of(lambda i: zeros(i).tolist()), r"list; give a numpy integer array"),
    "batch too long": (
        mvm_of(lambda i: np.broadcast_to(zeros(i), (i.max_batch + 1, i.rows))),
        r"send it in parts",
    ),
    "window past the last row": (
        mvm_window(lambda i: Window(row=1, col=0, rows=i.rows, cols=1)),
        r"window rows 1\.\.\.\d+ are outside 0\.\.\.\d+ \(info.rows\)",
    ),
    "window before the first col": (
        mvm_window(lambda i: Window(row=0, col=-1, rows=1, cols=1)),
        r"window cols -1\.\.\.-1 are outside",
    ),
    "empty window": (mvm_window(lambda i: Window(row=0, col=0, rows=0, cols=1)), r"window rows"),
    "row past the last": (pulse_with(lambda i: {"rows": i.rows}), r"row \d+ is outside 0\.\.\."),
    "negative row": (pulse_with(lambda i: {"rows": -1}), r"row -1 is outside 0\.\.\."),
    "col past the last": (pulse_with(lambda i: {"cols": i.cols}), r"col \d+ is outside 0\.\.\."),
    "no such device": (
        pulse_with(lambda i: {"device": i.devices_per_cell}),
        r"device \d+ is outside 0\.\.\.\d+ \(info.devices_per_cell\)",
    ),
    "amplitude too high": (
        pulse_with(lambda i: {"amplitude": i.pulses[0].amplitude.max_code + 1}),
        r"amplitude_code \d+ is outside .*info.pulses amplitude, \d+ bits",
    ),
    "amplitude too low": (
        pulse_with(lambda i: {"amplitude": i.pulses[0].amplitude.min_code - 1}),
        r"amplitude_code -?\d+ is outside",
    ),
    "width zero": (
        pulse_with(lambda i: {"width": i.pulses[0].width.min_code - 1}),
        r"width_code -?\d+ is outside",
    ),
    "no pulse": (pulse_with(lambda i: {"count": 0}), r"pulse count 0 is outside 1\.\.\."),
    "too many pulses": (
        pulse_with(lambda i: {"count": i.pulses[0].max_count + 1}),
        r"pulse count \d+ is outside 1\.\.\.\d+ \(info.pulses max_count\)",
    ),
    "a device twice": (
        pulse_with(lambda i: {"rows": [2, 3, 2]}),
        r"a device is listed twice in one pulse request",
    ),
    "ragged pulse": (ragged, r"cols has shape \(1,\); \(2\) is needed"),
    "range past the last": (
        trim_with("output_range", lambda i: len(i.output_ranges_siemens)),
        r"output_range \d+ is outside 0\.\.\.\d+ \(info.output_ranges_siemens\)",
    ),
    "negative range": (trim_with("output_range", lambda i: -1), r"output_range -1 is outside"),
    "trim code too high": (
        trim_with("gain_trim", over_trim),
        r"gain_trim \d+ is outside|has no gain_trim register",
    ),
    "trim of the wrong length": (
        trim_with("offset_trim", lambda i: np.zeros(i.cols + 1, np.int16)),
        r"offset_trim has shape|has no offset_trim register",
    ),
    "absolute zero": (
        trim_with("temperature_kelvin", lambda i: 0.0),
        r"temperature_kelvin 0.0 is outside|cannot set its temperature",
    ),
    "wait back in time": (lambda core: core.wait(-1e-9), r"wait of -1e-09 s is outside"),
    "wait of nan": (lambda core: core.wait(float("nan")), r"wait of nan s is outside"),
    "wait for ever": (lambda core: core.wait(float("inf")), r"wait of inf s is outside"),
    "no averages": (
        lambda core: core.read(CellRead.of(device=0, rows=0, cols=0, averages=0)),
        r"averages 0 is outside 1\.\.\.4096|cannot read single cells",
    ),
    "read past the last col": (
        lambda core: core.read(CellRead.of(device=0, rows=0, cols=core.info.cols)),
        r"col \d+ is outside 0\.\.\.|cannot read single cells",
    ),
}


@pytest.fixture(params=REFUSED)
def refused(request: pytest.FixtureRequest) -> tuple[Call, str]:
    return REFUSED[request.param]


def test_a_wrong_request_is_refused_unseen_and_changes_nothing(
    chip: Chip, refused: tuple[Call, str]
) -> None:
    call, sentence = refused
    for core in chip.cores:
        seen: list[VerbEvent] = []
        before, settings = counters(core), core.settings().output_range
        core.observe(seen.append)
        with pytest.raises(RequestError, match=sentence) as caught:
            call(core)
        core.unobserve(seen.append)
        assert isinstance(caught.value, ValueError)
        assert seen == []
        assert counters(core) == before
        assert core.settings().output_range == settings


def test_a_refusal_has_the_same_words_everywhere(chip: Chip, refused: tuple[Call, str]) -> None:
    call, _ = refused
    core = chip.cores[-1]
    with pytest.raises(RequestError) as caught:
        call(core)
    assert (str(caught.value), caught.value.fields) == words_of(core.info, call)


def test_what_a_core_cannot_do_is_refused(chip: Chip) -> None:
    core = chip.cores[0]
    info = core.info
    if Capability.TRANSPOSED_MVM not in info.capabilities:
        codes = np.zeros((1, info.cols), np.int16)
        with pytest.raises(RequestError, match="no transposed MVM"):
            core.mvm(MvmRequest(input_codes=codes, direction=Direction.TRANSPOSED))
    for mode in set(MvmMode) - set(info.mvm_s):
        with pytest.raises(RequestError, match=f"MVM mode {mode.value} is not offered"):
            core.mvm(MvmRequest(input_codes=zeros(info), mode=mode))
    for family in set(PulseFamily) - {p.family for p in info.pulses}:
        with pytest.raises(RequestError, match=f"pulse family {family.value} is not offered"):
            core.program(replace(one_pulse(info), family=family))
