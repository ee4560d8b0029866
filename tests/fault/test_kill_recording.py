"""A recording outlives the process that writes it: kill -9, then replay what there is."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from drivers.tape import Kind, TapeReader
from hil import MvmRequest, RequestError, open_chip

INNER = "sim:ideal?rows=64&cols=64&seed=1"
WRITER = """
import sys
import numpy as np
from hil import MvmRequest, open_chip
with open_chip(sys.argv[1]) as chip:
    for value in range(1_000_000):
        codes = np.full((64, 64), value % 100, np.int16)
        chip.cores[0].mvm(MvmRequest(input_codes=codes))
"""
ENOUGH_BYTES = 20_000
LIMIT_S = 120.0


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The recording of a process that was killed while it wrote."""
    file = tmp_path / "killed.rec"
    address = f"record:{INNER}&to={file}"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, address])
    limit = time.monotonic() + LIMIT_S
    while not file.exists() or file.stat().st_size < ENOUGH_BYTES:
        assert writer.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(LIMIT_S) == -signal.SIGKILL
    return file


def test_a_killed_recording_replays_to_its_last_whole_record(killed: Path) -> None:
    with TapeReader(killed) as tape:
        verbs = sum(place.kind is Kind.VERB for place in tape.places)
        assert tape.places[-1].kind is not Kind.END
    assert verbs > 10
    with open_chip(f"replay:{killed}") as replay, open_chip(INNER) as chip:
        for value in range(verbs):
            request = MvmRequest(input_codes=np.full((64, 64), value % 100, np.int16))
            one, other = replay.cores[0].mvm(request), chip.cores[0].mvm(request)
            assert np.array_equal(one.output_codes, other.output_codes)
            assert one.at_s == other.at_s
        with pytest.raises(RequestError, match="recording process was killed"):
            replay.wait(1.0)


def test_cutting_a_killed_recording_further_loses_only_what_was_cut(killed: Path) -> None:
    with TapeReader(killed) as tape:
        records = len(tape.places)
    content = killed.read_bytes()
    killed.write_bytes(content[:-5])
    with TapeReader(killed) as tape:
        assert len(tape.places) in (records - 1, records)
        assert tape.torn > 0
