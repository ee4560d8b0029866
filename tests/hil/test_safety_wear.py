"""H1, endurance: the ledger counts every pulse that may have left, whatever happens to the host."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hil.errors import RecordError, RequestError
from hil.info import PulseFamily
from hil.pulse_limits import Budget
from hil.requests import Pulse
from hil.wear import LEDGER_FILE, ChipWear
from hil.wear_log import FAMILIES, encode_record, read_records, record_of

TESTS = str(Path(__file__).parent)
SHAPES = {0: (4, 9, 7), 1: (2, 5, 6)}
FREE = Budget()
SET, RESET = PulseFamily.SET, PulseFamily.RESET


def pulse_at(places, count=1, family=RESET):
    device, rows, cols = (np.array(p) for p in zip(*places, strict=True))
    return Pulse.of(family, device=device, rows=rows, cols=cols, amplitude=5, width=1, count=count)


def random_pulse(rng, shape, family, most=3):
    places = rng.permutation(int(np.prod(shape)))[: rng.integers(1, int(np.prod(shape)))]
    device, rows, cols = np.unravel_index(places, shape)
    count = rng.integers(1, most + 1, places.size) if most > 1 else 1
    return Pulse.of(family, device=device, rows=rows, cols=cols, amplitude=5, width=1, count=count)


def log_of(folder):
    (log,) = folder.glob("wear.log.*")
    return log


def test_ledger_counts_every_device_and_family_on_its_own(tmp_path):
    rng = np.random.default_rng(1)
    wanted = {k: np.zeros((2, *shape), np.int64) for k, shape in SHAPES.items()}
    with ChipWear(tmp_path, SHAPES) as wear:
        for step in range(40):
            core, family = step % 2, FAMILIES[(step // 2) % 2]
            pulse = random_pulse(rng, SHAPES[core], family, most=1 + 4 * (step % 3))
            wear.reserve(core, pulse, FREE)
            np.add.at(
                wanted[core][FAMILIES.index(family)],
                (pulse.device, pulse.rows, pulse.cols),
                pulse.count,
            )
        for core in SHAPES:
            np.testing.assert_array_equal(wear.totals(core), wanted[core])
    with ChipWear(tmp_path, SHAPES) as again:
        for core in SHAPES:
            np.testing.assert_array_equal(again.totals(core), wanted[core])


def test_ledger_of_a_process_that_never_closed_it_is_whole(tmp_path):
    wear = ChipWear(tmp_path, SHAPES)
    wear.reserve(0, pulse_at([(0, 1, 2), (3, 8, 6)]), FREE)
    with ChipWear(tmp_path, SHAPES) as other:
        assert other.pulses == 2
    assert wear.totals(0).sum() == 2  # it has seen that the log was folded away
    wear.reserve(0, pulse_at([(0, 1, 2)]), FREE)
    with ChipWear(tmp_path, SHAPES) as other:
        assert other.totals(0)[FAMILIES.index(RESET), 0, 1, 2] == 2


KILLED = """
import sys, itertools
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_safety_wear import SHAPES, FREE, pulse_at
from hil.wear import ChipWear
import hil.wear
hil.wear.COMPACT_BYTES = 4096
wear = ChipWear(Path(sys.argv[1]), SHAPES)
for n in itertools.count():
    wear.reserve(0, pulse_at([(n % 4, n % 9, n % 7)]), FREE)
    print(n + 1, flush=True)   # the pulse leaves: it was counted before
"""


def test_kill_9_loses_no_pulse_that_has_left(tmp_path):
    for _ in range(3):
        with ChipWear(tmp_path, SHAPES) as wear:
            before = wear.pulses
        with subprocess.Popen(
            [sys.executable, "-c", KILLED.format(tests=TESTS), str(tmp_path)],
            stdout=subprocess.PIPE,
        ) as child:
            sent = [child.stdout.readline() for _ in range(300)]
            child.send_signal(signal.SIGKILL)
            sent += child.stdout.readlines()
        left = int([line for line in sent if line.endswith(b"\n")][-1])
        with ChipWear(tmp_path, SHAPES) as wear:
            assert wear.pulses - before in (left, left + 1)  # one may have been counted, not sent


@pytest.mark.parametrize("keep", range(1, 48, 4))
def test_torn_record_is_cut_off_and_later_ones_are_counted(tmp_path, keep):
    wear = ChipWear(tmp_path, SHAPES)
    wear.reserve(0, pulse_at([(0, 0, 0)]), FREE)
    torn = encode_record(
        record_of(0, pulse_at([(k, 1, 1) for k in range(4)]), SHAPES[0]), SHAPES[0]
    )
    with log_of(tmp_path).open("ab") as file:
        file.write(torn[:keep])
    with ChipWear(tmp_path, SHAPES) as after:
        assert after.pulses == 1
        after.reserve(0, pulse_at([(1, 2, 3)]), FREE)
        assert after.pulses == 2
    with ChipWear(tmp_path, SHAPES) as after:
        assert after.pulses == 2


@pytest.mark.parametrize("share", [0.0, 0.4, 0.45, 0.5, 0.55, 0.6])
def test_damaged_record_among_others_stops_programming_in_a_sentence(tmp_path, share):
    wear = ChipWear(tmp_path, SHAPES)
    for _ in range(3):
        wear.reserve(0, pulse_at([(0, 0, 0)]), FREE)
    log = log_of(tmp_path)
    content = bytearray(log.read_bytes())
    content[int(share * len(content))] ^= 1
    log.write_bytes(content)
    with pytest.raises(RecordError, match=r"damaged at byte \d+.*restore it"):
        ChipWear(tmp_path, SHAPES)
    assert log.read_bytes() == content


def test_damaged_ledger_and_a_chip_of_other_size_are_refused(tmp_path):
    with ChipWear(tmp_path, SHAPES) as wear:
        wear.reserve(0, pulse_at([(0, 0, 0)]), FREE)
    with pytest.raises(RecordError, match="core 1"):
        ChipWear(tmp_path, {**SHAPES, 1: (2, 5, 7)})
    (tmp_path / LEDGER_FILE).write_bytes(b"no array")
    with pytest.raises(RecordError, match="is damaged"):
        ChipWear(tmp_path, SHAPES)


@pytest.mark.parametrize(
    ("name", "limit", "places"),
    [
        ("pulses_per_device", 3, [(1, 2, 3)]),
        ("pulses_per_cell", 3, [(0, 2, 3)]),
        ("pulses_per_chip", 3, [(3, 0, 0)]),
    ],
)
def test_exhausted_budget_stops_before_the_pulse_and_after_a_restart(tmp_path, name, limit, places):
    budget = Budget(**{name: limit})
    with ChipWear(tmp_path, SHAPES) as wear:
        wear.reserve(0, pulse_at([(1, 2, 3)], count=2), budget)
        wear.reserve(0, pulse_at([(1, 2, 3)], family=SET), budget)
    with ChipWear(tmp_path, SHAPES) as wear:
        with pytest.raises(
            RequestError, match="3 pulses; 1 more would exceed the budget of 3"
        ) as no:
            wear.reserve(0, pulse_at(places), budget)
        assert no.value.fields["budget"] == name
        assert wear.pulses == 3


def test_other_devices_go_on_when_one_is_worn(tmp_path):
    with ChipWear(tmp_path, SHAPES) as wear:
        budget = Budget(pulses_per_device=1)
        wear.reserve(0, pulse_at([(1, 2, 3)]), budget)
        wear.reserve(0, pulse_at([(0, 2, 3)]), budget)
        wear.reserve(1, pulse_at([(1, 2, 3)]), budget)
        with pytest.raises(RequestError, match=r"core 0: device \(device, row, col\) \(1, 2, 3\)"):
            wear.reserve(0, pulse_at([(2, 2, 3), (1, 2, 3)]), budget)
        assert wear.pulses == 3


def test_rejected_request_is_taken_back(tmp_path):
    with ChipWear(tmp_path, SHAPES) as wear:
        wear.reserve(0, pulse_at([(1, 2, 3)], count=5), FREE)
        wear.withdraw(0, pulse_at([(1, 2, 3)], count=5))
        assert wear.pulses == 0
    with ChipWear(tmp_path, SHAPES) as wear:
        assert wear.pulses == 0


FIGHTER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_safety_wear import SHAPES, pulse_at
from hil.errors import RequestError
from hil.pulse_limits import Budget
from hil.wear import ChipWear
sent = 0
with ChipWear(Path(sys.argv[1]), SHAPES) as wear:
    for n in range(200):
        try:
            wear.reserve(0, pulse_at([(0, 0, 0)]), Budget(pulses_per_device=250))
            sent += 1
        except RequestError:
            pass
print(sent)
"""


def test_two_processes_share_one_budget(tmp_path):
    command = [sys.executable, "-c", FIGHTER.format(tests=TESTS), str(tmp_path)]
    fighters = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    sent = [json.loads(fighter.communicate()[0]) for fighter in fighters]
    assert sum(sent) == 250
    with ChipWear(tmp_path, SHAPES) as wear:
        assert wear.totals(0)[FAMILIES.index(RESET), 0, 0, 0] == 250


@pytest.mark.parametrize("most", [1, 1000])
def test_record_is_read_back_as_written_in_either_layout(most):
    rng = np.random.default_rng(3)
    shape = (4, 32, 32)
    for _ in range(20):
        pulse = random_pulse(rng, shape, SET, most=most)
        record = record_of(3, pulse, shape)
        data = encode_record(record, shape)
        (back,), size = read_records(data, {3: shape})
        assert size == len(data) <= 24 + 6 * len(pulse)
        counts = np.zeros(shape, np.int64)
        counts[pulse.device, pulse.rows, pulse.cols] = pulse.count
        found = np.zeros(counts.size, np.int64)
        found[back.places] = back.counts
        np.testing.assert_array_equal(found.reshape(shape), counts)
