"""Replay: a recording answers as the chip did, and refuses what was not recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.recorder import record_chip
from drivers.replay import open_replay
from drivers.tape import TapeWriter
from hil import (
    BackendKind,
    CellRead,
    Chip,
    CoreSettings,
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    MvmRequest,
    Pulse,
    PulseFamily,
    RecordError,
    RequestError,
    Window,
    open_chip,
)
from hil.address import address_with, parse_address
from hil.journal import digest_of

INNER = "sim:hermes?rows=12&cols=10&cores=2&seed=5"


def pulse(amplitude: int = 40, rows: tuple[int, ...] = (0, 3, 7)) -> Pulse:
    return Pulse.of(
        PulseFamily.RESET, device=0, rows=list(rows), cols=1, amplitude=amplitude, width=1
    )


def inputs(value: int = 5, batch: int = 3) -> np.ndarray[Any, Any]:
    codes = np.full((batch, 12), value, np.int16)
    codes[-1, -1] = -7
    return codes


def session(chip: Chip) -> list[Any]:
    """Use every verb on both cores; return all that was said."""
    seen: list[Any] = []
    for core in chip.cores:
        seen += [core.program(pulse()), core.read(CellRead.of(device=0, rows=[0, 3], cols=1))]
        seen.append(core.mvm(MvmRequest(input_codes=inputs())))
        core.configure(CoreSettings(output_range=1))
        seen += [core.settings(), core.status(), core.now_s(), core.wait(60.0)]
        window = Window(row=2, col=1, rows=4, cols=3)
        seen.append(core.mvm(MvmRequest(input_codes=inputs()[:, :4], window=window)))
    return seen


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(
            equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    return bool(a == b)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "one.rec"


@pytest.fixture
def said(file: Path) -> list[Any]:
    with open_chip(f"record:{INNER}&to={file}") as chip:
        assert chip.backend is BackendKind.SIM
        return session(chip)


def test_a_recorder_changes_nothing(said: list[Any]) -> None:
    with open_chip(INNER) as chip:
        assert all(map(equal, session(chip), said))


def test_a_replay_answers_the_same_requests_with_the_same_values(
    file: Path, said: list[Any]
) -> None:
    for _ in range(2):
        with open_chip(f"replay:{file}") as chip:
            assert all(map(equal, session(chip), said))


def test_a_replay_says_that_it_is_one_and_keeps_the_rest_of_the_identity(
    file: Path, said: list[Any]
) -> None:
    with open_chip(f"replay:{file}") as chip, open_chip(INNER) as original:
        assert chip.backend is BackendKind.REPLAY
        assert chip.address == f"replay:{file}"
        assert chip.serial == original.serial
        for core, first in zip(chip.cores, original.cores, strict=True):
            assert core.info == first.info.model_copy(update={"backend": BackendKind.REPLAY})


def first_core(chip: Chip) -> Any:
    return chip.cores[0]


WRONG: dict[str, tuple[Callable[[Chip], Any], str]] = {
    "another verb": (
        lambda c: c.cores[0].mvm(MvmRequest(input_codes=inputs())),
        r"verb 1 of \d+: mvm of core 0 was asked, recorded was program of core 0",
    ),
    "another core": (
        lambda c: c.cores[1].program(pulse()),
        r"verb 1 of \d+: program of core 1 was asked, recorded was program of core 0",
    ),
    "another amplitude": (
        lambda c: c.cores[0].program(pulse(amplitude=41)),
        r"program of core 0: amplitude\[0\] is 41, recorded was 40 \(3 of 3 differ\)",
    ),
    "another row": (
        lambda c: c.cores[0].program(pulse(rows=(0, 3, 8))),
        r"program of core 0: rows\[2\] is 8, recorded was 7;",
    ),
    "fewer rows": (
        lambda c: c.cores[0].program(pulse(rows=(0, 3))),
        r"program of core 0: device has shape \(2,\), recorded was \(3,\)",
    ),
    "another family": (
        lambda c: c.cores[0].program(replace(pulse(), family=PulseFamily.SET)),
        r"family is 'set', recorded was 'reset'",
    ),
}


@pytest.mark.parametrize("which", WRONG)
def test_a_request_that_differs_is_refused_and_the_right_one_still_answered(
    file: Path, said: list[Any], which: str
) -> None:
    call, sentence = WRONG[which]
    with open_chip(f"replay:{file}") as chip:
        with pytest.raises(RequestError, match=sentence):
            call(chip)
        assert all(map(equal, session(chip), said))


def test_a_window_that_differs_is_named(file: Path) -> None:
    window = Window(row=0, col=0, rows=12, cols=4)
    with open_chip(f"record:{INNER}&to={file}") as chip:
        chip.cores[0].mvm(MvmRequest(input_codes=inputs(), window=window))
    with open_chip(f"replay:{file}") as chip:
        for other, sentence in (
            (replace(window, cols=5), r"cols is 5, recorded was 4"),
            (None, r"window is None, recorded was"),
        ):
            with pytest.raises(RequestError, match=sentence):
                chip.cores[0].mvm(MvmRequest(input_codes=inputs(), window=other))


def test_questions_may_be_left_out_or_asked_again(file: Path, said: list[Any]) -> None:
    with open_chip(f"replay:{file}") as chip:
        core = chip.cores[0]
        done = core.program(pulse())
        assert core.now_s() == done.at_s
        core.read(CellRead.of(device=0, rows=[0, 3], cols=1))
        core.mvm(MvmRequest(input_codes=inputs()))
        core.configure(CoreSettings(output_range=1))
        assert [core.settings().output_range for _ in range(3)] == [1, 1, 1]
        core.safe_state()
        assert core.wait(60.0) == said[6]


def test_counters_that_were_not_recorded_are_not_made_up(file: Path, said: list[Any]) -> None:
    with open_chip(f"replay:{file}") as chip:
        chip.cores[0].program(pulse())
        with pytest.raises(RequestError, match="status of core 0 was not asked here"):
            chip.cores[0].status()


def test_a_replay_ends_where_the_recording_ends(file: Path, said: list[Any]) -> None:
    with open_chip(f"replay:{file}") as chip:
        session(chip)
        with pytest.raises(RequestError, match="wait of core 0 was asked, but the recording ends"):
            chip.wait(1.0)


def test_a_killed_recording_replays_up_to_its_torn_tail(file: Path, said: list[Any]) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with open_chip(f"replay:{file}") as chip:
        core = chip.cores[0]
        assert equal(core.program(pulse()), said[0])
        with pytest.raises(RequestError, match="recording process was killed"):
            session_again(chip)


def session_again(chip: Chip) -> None:
    """Use the verbs of `session` from the second on."""
    chip.cores[0].read(CellRead.of(device=0, rows=[0, 3], cols=1))
    chip.cores[0].mvm(MvmRequest(input_codes=inputs()))
    chip.cores[0].configure(CoreSettings(output_range=1))
    chip.cores[0].wait(60.0)
    window = Window(row=2, col=1, rows=4, cols=3)
    chip.cores[0].mvm(MvmRequest(input_codes=inputs()[:, :4], window=window))
    session(chip)


@pytest.mark.parametrize("kind", [CoreTimeoutError, DeviceFaultError, RequestError])
def test_failures_are_replayed(
    make_cells: Callable[[], Chip], file: Path, kind: type[Exception]
) -> None:
    cells: Any = make_cells()
    with record_chip(cells, TapeWriter(file), address="record:cells") as chip:
        cells.cores[0].fault = kind("the supply is low", volt=1.1)
        with pytest.raises(kind, match="the supply is low"):
            chip.cores[0].configure(CoreSettings(output_range=0))
        cells.cores[0].fault = None
    with open_replay(parse_address(f"replay:{file}")) as chip:
        with pytest.raises(kind, match="the supply is low") as caught:
            chip.cores[0].configure(CoreSettings(output_range=0))
        assert caught.value.fields == {"volt": 1.1}
        if kind is CoreTimeoutError:
            with pytest.raises(CoreUnavailableError, match="its state is unknown"):
                chip.cores[0].status()


def test_an_address_without_a_file_and_a_second_recording_are_refused(
    file: Path, said: list[Any]
) -> None:
    with pytest.raises(RequestError, match="names no file"):
        open_chip(f"record:{INNER}")
    with pytest.raises(RecordError, match="exists already"):
        open_chip(f"record:{INNER}&to={file}")
    with pytest.raises(RequestError, match="unknown option"):
        open_chip(f"replay:{file}?seed=1")


def test_a_chip_that_does_not_open_leaves_no_recording(file: Path) -> None:
    with pytest.raises(RequestError):
        open_chip(f"record:sim:nosuch?to={file}")
    assert not file.exists()


def test_a_recording_without_a_chip_is_refused(file: Path) -> None:
    TapeWriter(file).close()
    with pytest.raises(RecordError, match="holds no chip"):
        open_chip(f"replay:{file}")


def test_a_path_may_hold_what_ends_an_option(tmp_path: Path) -> None:
    path = tmp_path / "a&b=1.rec"
    with open_chip(address_with(f"record:{INNER}", to=str(path))) as chip:
        chip.wait(1.0)
    assert path.exists()


def test_codes_digests_of_recording_and_replay_are_equal(file: Path, said: list[Any]) -> None:
    with open_chip(f"replay:{file}") as chip:
        assert [digest_of(value) for value in session(chip)] == [digest_of(v) for v in said]
