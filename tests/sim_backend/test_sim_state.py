"""A preserved chip opens as it stood: the same codes from any verb on; other files are refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.address import address_with
from hil.backends import open_chip
from hil.core import CellRead, Chip, CoreSettings, MvmRequest, Pulse, Window
from hil.errors import CoreUnavailableError, HilError, RecordError, RequestError
from hil.info import Capability, Direction, PulseFamily
from sim_backend.state import STATE_FILE

ADDRESSES = (
    "sim:hermes?cores=2&rows=9&cols=7&devices=2&seed=3",
    "sim:aon?rows=8&cols=10&seed=4&adc_bits=10",
    "sim:pcm90?rows=6&cols=6&off=drift+wire&serial=BENCH-1",
    "sim:ideal?rows=6&cols=5&cores=2&seed=1",
    "loopback:sim:hermes?cores=2&rows=9&cols=7&seed=3",
    "sim:hermes?rows=9&cols=7&seed=3&fidelity=statistical",
)
VERBS = ("reset", "set", "full_set", "read", "mvm", "window", "configure", "heat", "wait", "safe")

Step = tuple[str, int, int]


def _places(chip: Chip, rng: np.random.Generator) -> dict[str, np.ndarray]:
    info = chip.cores[0].info
    shape = (info.devices_per_cell, info.rows, info.cols)
    size = int(np.prod(shape))
    chosen = rng.choice(size, min(12, size), replace=False)
    return dict(zip(("device", "rows", "cols"), np.unravel_index(chosen, shape), strict=True))


def _pulse(chip: Chip, family: PulseFamily, rng: np.random.Generator, *, full: bool) -> Pulse:
    limits = chip.cores[0].info.limits(family)
    assert limits is not None
    places = _places(chip, rng)
    amplitude = rng.integers(limits.amplitude.min_code, limits.amplitude.max_code + 1, 12)
    width = limits.full_width_code if full else limits.width.min_code
    count = 1 if full else int(rng.integers(1, limits.max_count + 1))
    n = len(places["rows"])
    return Pulse.of(family, **places, amplitude=amplitude[:n], width=width, count=count)


def _act(chip: Chip, step: Step) -> list[np.ndarray]:
    """Do one verb; return every code and time it gives."""
    verb, which, seed = step
    core, rng = chip.cores[which % len(chip.cores)], np.random.default_rng(seed)
    info = core.info
    if verb in ("reset", "set", "full_set"):
        family = PulseFamily.RESET if verb == "reset" else PulseFamily.SET
        done = core.program(_pulse(chip, family, rng, full=verb == "full_set"))
        return [np.array([done.at_s, done.pulses])]
    if verb == "read":
        seen = core.read(CellRead.of(**_places(chip, rng), averages=int(rng.integers(1, 4))))
        return [seen.codes, seen.saturated, np.array([seen.at_s])]
    if verb in ("mvm", "window"):
        window = None if verb == "mvm" else Window(row=1, col=1, rows=4, cols=3)
        turned = verb == "window" and Capability.TRANSPOSED_MVM in info.capabilities
        inputs = (3 if turned else 4) if window else info.rows
        codes = rng.integers(-100, 101, (3, inputs)).astype(info.input.dtype)
        direction = Direction.TRANSPOSED if turned else Direction.FORWARD
        out = core.mvm(MvmRequest(input_codes=codes, window=window, direction=direction))
        return [out.output_codes, out.saturated, np.array([out.at_s])]
    if verb == "configure":
        trims = {}
        if info.gain_trim is not None:
            trims["gain_trim"] = rng.integers(-5, 6, info.cols).astype(np.int16)
        if info.offset_trim is not None:
            trims["offset_trim"] = rng.integers(-5, 6, info.cols).astype(np.int16)
        chosen = int(rng.integers(len(info.output_ranges_siemens)))
        core.configure(CoreSettings(output_range=chosen, **trims))
    if verb == "heat" and Capability.TEMPERATURE_CONTROL in info.capabilities:
        core.configure(CoreSettings(temperature_kelvin=float(rng.integers(290, 330))))
    if verb == "wait":
        chip.wait(float(rng.choice([0.0, 1e-3, 20.0, 1e5])))
    if verb == "safe":
        chip.safe_state()
    status = core.status()
    return [np.array([getattr(status, name) or 0 for name in status.__dataclass_fields__], float)]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


steps = st.tuples(st.sampled_from(VERBS), st.integers(0, 1), st.integers(0, 10_000))


@pytest.mark.parametrize("address", ADDRESSES)
@settings(max_examples=12)
@given(before=st.lists(steps, max_size=8), after=st.lists(steps, min_size=1, max_size=8))
def test_a_preserved_chip_goes_on_bit_for_bit_as_the_original(
    address: str, before: list[Step], after: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("chip")
    with open_chip(address) as chip:
        for step in before:
            _act(chip, step)
        kept = chip.preserve(folder)
        with open_chip(kept) as other:
            assert other.info.cores == chip.info.cores
            assert other.now_s() == chip.now_s()
            for core, twin in zip(chip.cores, other.cores, strict=True):
                assert core.status() == twin.status()
            for step in after:
                assert _same(_act(chip, step), _act(other, step)), step


def test_the_moment_of_the_last_ageing_is_kept(tmp_path: Path) -> None:
    # Conductances are aged anew only once ln(age) has grown by 0.001: less than one code, unless
    # the converters are fine and the batch is large.
    with open_chip("sim:hermes?rows=40&cols=40&seed=3&noise=off&adc_bits=12") as chip:
        core = chip.cores[0]
        device, rows, cols = (index.ravel() for index in np.indices((2, 40, 40)))
        core.program(
            Pulse.of(
                PulseFamily.RESET,
                device=device,
                rows=rows,
                cols=cols,
                amplitude=np.random.default_rng(0).integers(300, 600, device.size),
                width=1,
            )
        )
        chip.wait(1_000.0)
        codes = np.random.default_rng(1).integers(-127, 128, (1000, 40)).astype(np.int8)
        request = MvmRequest(input_codes=codes)
        core.mvm(request)
        chip.wait(0.9)
        with open_chip(chip.preserve(tmp_path)) as twin:
            there = twin.cores[0].mvm(request).output_codes
        assert np.array_equal(core.mvm(request).output_codes, there)


@pytest.fixture
def used(tmp_path: Path) -> tuple[str, Path]:
    """A used chip's address with its state, and the state file."""
    with open_chip(ADDRESSES[0]) as chip:
        for seed, verb in enumerate(("reset", "mvm", "wait", "read", "configure")):
            _act(chip, (verb, 0, seed))
        return chip.preserve(tmp_path), tmp_path / STATE_FILE


def test_opening_a_state_never_writes_it(used: tuple[str, Path]) -> None:
    address, file = used
    before = file.read_bytes()
    codes = []
    for _ in range(2):
        with open_chip(address) as chip:
            codes.append(_act(chip, ("mvm", 0, 1)))
            _act(chip, ("reset", 0, 2))
    assert _same(*codes)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [STATE_FILE]


def test_a_preserved_chip_is_preserved_again(used: tuple[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "with & and % and = and ü?"
    folder.mkdir()
    with open_chip(used[0]) as chip:
        _act(chip, ("reset", 1, 9))
        again = chip.preserve(folder)
        with open_chip(again) as twin:
            assert _same(_act(chip, ("mvm", 1, 5)), _act(twin, ("mvm", 1, 5)))


def test_preserving_changes_nothing(tmp_path: Path) -> None:
    runs = []
    for keep in (False, True):
        with open_chip(ADDRESSES[0]) as chip:
            seen = _act(chip, ("reset", 0, 1)) + _act(chip, ("mvm", 0, 1))
            if keep:
                chip.preserve(tmp_path)
            runs.append(seen + _act(chip, ("mvm", 0, 2)) + _act(chip, ("read", 0, 3)))
    assert _same(*runs)


def test_a_closed_chip_is_not_preserved(tmp_path: Path) -> None:
    chip = open_chip(ADDRESSES[0])
    chip.close()
    with pytest.raises(CoreUnavailableError, match="closed"):
        chip.preserve(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", 4),
        ("rows", 10),
        ("cores", 1),
        ("devices", 1),
        ("adc_bits", 7),
        ("off", "drift"),
        ("serial", "OTHER"),
    ],
)
def test_the_state_of_another_chip_is_refused(
    used: tuple[str, Path], option: str, value: int | str
) -> None:
    with pytest.raises(RequestError, match="state of a chip with"):
        open_chip(address_with(used[0], **{option: value}))


def _flip(content: bytes) -> bytes:
    middle = len(content) - 40
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _edited(old: str, new: str) -> Callable[[bytes], bytes]:
    """Change text inside the header and set its length right again."""

    def edit(content: bytes) -> bytes:
        length = struct.unpack("<Q", content[:8])[0]
        header = json.dumps(json.loads(content[8 : 8 + length])).replace(old, new).encode()
        return struct.pack("<Q", len(header)) + header + content[8 + length :]

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],
        lambda content: content[:20],
        lambda _: b"",
        lambda _: b"not a state at all",
        _flip,
        lambda content: content + bytes(9_000_000),
        _edited("clock_s", "clock_x"),
        _edited("generation", "generatiom"),
        _edited("aimc-hil chip state", "aimc-hil checkpoint"),
    ],
    ids=["short", "header_cut", "empty", "text", "bit", "large", "field", "value", "kind"],
)
def test_a_damaged_state_gets_one_sentence(
    used: tuple[str, Path], damage: Callable[[bytes], bytes]
) -> None:
    address, file = used
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RecordError) as refused:
        open_chip(address)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_state_and_an_unwritable_folder_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist"):
        open_chip(f"{ADDRESSES[0]}&state={tmp_path / 'none'}")
    (tmp_path / "file").touch()
    with open_chip(ADDRESSES[0]) as chip, pytest.raises(HilError, match="cannot be written"):
        chip.preserve(tmp_path / "file")
