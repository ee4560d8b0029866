"""bench link, faults and fuzz from the command line: one line of JSON, exit codes that judge."""

import json

import pytest

from hil.bench.line import FaultBench
from hil.record import RunStatus, load_record


@pytest.fixture
def hil(hil):
    """Run a command in an empty directory: (exit code, its JSON line, stderr)."""

    def run(*args):
        code, out, shown = hil(*args)
        assert out.count("\n") == 1
        return code, json.loads(out), shown

    return run


def test_faults_count_what_happened_and_leave_a_record(hil, tmp_path):
    code, line, shown = hil("bench", "faults", "--frames", 2000, "--rate", 0.03, "--out", "run")
    assert code == 0
    assert sum(part["faults"]["frames"] for part in line["parts"]) >= 2000
    assert all(part["answered"] + part["unknown"] == part["requests"] for part in line["parts"])
    assert "wrong replies" in shown
    assert load_record(tmp_path / "run").status is RunStatus.DONE


def test_faults_exit_with_1_where_a_law_is_broken(hil, monkeypatch):
    monkeypatch.setattr("drivers.bench.link_faults.ideal_answer", lambda codes: codes)
    code, line, shown = hil("bench", "faults", "--frames", 500)
    assert code == 1
    assert not line["goal_met"]
    fields = {name: line[name] for name in FaultBench.model_fields}
    assert not FaultBench.model_validate_json(json.dumps(fields)).lawful
    assert "was answered" in shown


def test_fuzzing_exits_with_1_for_a_finding(hil, monkeypatch):
    def broken(seed, until):
        raise KeyError(seed)

    monkeypatch.setattr("drivers.bench.fuzz.TARGETS", {"broken": broken})
    code, line, shown = hil("bench", "fuzz", "--seconds", 0.1, "--seed", 7)
    assert code == 1
    assert line["targets"][0]["failures"] >= 1
    assert "seed 7: KeyError" in shown


def test_link_rates_decide_the_exit_code(hil):
    common = ("bench", "link", "--seconds", 0.01, "--no-serial")
    code, line, shown = hil(*common, "--goal-mvm", 1e9)
    assert (code, line["goal_met"], line["serial"]) == (1, False, None)
    assert {rate["window"] for rate in line["rates"] if rate["batch"] == 1} == {1, 2, 4, 8, 16}
    assert "codes over bytes on the line" in shown


def test_a_board_at_a_slow_line_is_measured_through_the_driver():
    from drivers.bench.serial_board import serial_rate  # noqa: PLC0415

    found = serial_rate("sim:ideal?rows=64&cols=64", baud=1_000_000, batches=3, seed=0)
    assert found.vectors == 3 * found.batch
    least_s = max(found.sent_bytes, found.received_bytes) * 10 / found.baud
    assert found.seconds > least_s
    assert found.share == pytest.approx(least_s / found.seconds)
    assert 0.9 < found.payload_share < 1
