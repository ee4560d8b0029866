"""The installed plug-in: any folder, any board, also a stranger's; and the suite bites."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SIM = "sim:hermes?rows=12&cols=10&seed=7"
SILICON = "bench:silicon?noise=2"
BENCH = Path(__file__).with_name("bench_chip.py")

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the commands are called by their POSIX names"
)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that is none of this project's, with a stranger's package that brings a back-end."""
    package = tmp_path / "site"
    metadata = package / "bench_chip-1.0.dist-info"
    metadata.mkdir(parents=True)
    (package / "bench_chip.py").write_text(BENCH.read_text())
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-chip\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[aimc_hil.backends]\nbench = bench_chip:open_bench\n"
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    paths = [str(folder.parent / "site"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    last = done.stdout.strip().splitlines()[-1]
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}


def outcomes(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(law["law"], law["case"], law["outcome"]) for law in report["laws"]]


def test_a_strangers_board_runs_the_whole_suite_in_any_folder(elsewhere: Path) -> None:
    (elsewhere / "test_of_theirs.py").write_text("def test_theirs():\n    assert False\n")
    done = call(elsewhere, "pytest", "-q", "--board", "bench:sim", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    found = counts(done)
    assert found["passed"] > 100
    assert found["skipped"] == 3  # it has no trims, and its cells outlast an opening


def test_every_broken_law_is_noticed(elsewhere: Path) -> None:
    """One fault each: the law that it breaks is among those that fail."""
    broken = {
        "wraps": "saturation_is_flagged",
        "neighbour": "a_pulse_moves_the_addressed_cells",
        "clock": "time_never_runs_back",
        "dtype": "mvm_results_have_the_stated_dtype",
        "offset": "zero_input_gives_the_offset",
        "halves": "one_batch_equals_its_halves",
        "forgets": "settings_hold_what_was_set",
        "counts": "programming_reports_what_was_applied",
    }
    boards = [f"bench:sim?fault={fault}" for fault in broken]
    options = [text for board in boards for text in ("--board", board)]
    done = call(elsewhere, "pytest", "-q", "--tb=no", *options, "-p", "no:cacheprovider", "-rf")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = re.findall(r"^FAILED \S*::test_(\w+)\[bench:sim\?fault=(\w+)", done.stdout, re.M)
    for fault, law in broken.items():
        assert any(law in name and fault == where for name, where in failed), (fault, failed)
    assert not any("closed" in name or "refused" in name for name, _ in failed)


def test_silicon_gets_no_pulse_unasked_and_then_only_few_announced_ones(elsewhere: Path) -> None:
    spent = {}
    for name, options in (("shy", ()), ("bold", ("--allow-pulses",))):
        done = call(elsewhere, "hil", "conformance", SILICON, *options, "--out", name)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["passed"]
        spent[name] = result["pulses"]
        reasons = [law["reason"] for law in result["laws"] if law["outcome"] == "skipped"]
        assert any("would wear silicon" in reason for reason in reasons)
        assert any("--allow-pulses" in reason for reason in reasons) == (name == "shy")
        page = (elsewhere / name / "conformance.md").read_text()
        assert "BENCH-1 (silicon) conforms" in page
        assert f"{result['pulses']} pulses sent" in page
    assert spent["shy"] == 0
    assert 0 < spent["bold"] <= 200


def test_the_report_says_which_law_does_not_hold(elsewhere: Path) -> None:
    done = call(elsewhere, "hil", "conformance", "bench:sim?fault=wraps", "--out", "report")
    assert done.returncode == 1, done.stderr
    assert "does not hold: saturation is flagged and never wraps" in done.stderr
    result = json.loads(done.stdout)
    assert not result["passed"]
    page = (elsewhere / "report" / "conformance.md").read_text()
    assert "does not conform" in page
    assert "### saturation is flagged and never wraps" in page


def test_a_recorded_suite_passes_again_without_the_chip(elsewhere: Path) -> None:
    done = call(elsewhere, "hil", "conformance", SIM, "--record", "tapes", "--out", "first")
    assert done.returncode == 0, done.stderr
    again = call(elsewhere, "hil", "conformance", "replay:tapes", "--out", "again")
    assert again.returncode == 0, again.stderr
    one, other = json.loads(done.stdout), json.loads(again.stdout)
    outcomes = [
        [(law["law"], law["case"], law["outcome"]) for law in r["laws"]] for r in (one, other)
    ]
    assert outcomes[0] == outcomes[1]
    tape = next((elsewhere / "tapes").glob("test_info*.rec"))
    tape.unlink()
    missing = call(elsewhere, "hil", "conformance", "replay:tapes", "--out", "missing")
    assert missing.returncode == 1
    assert "does not hold: info never changes" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nosuch:chip",), 2, "unknown scheme 'nosuch'"),
        (("sim:nosuch",), 2, "nosuch"),
        (("replay:.",), 2, "holds no recordings of the conformance suite"),
        ((SIM, "--record", "."), 2, "is not empty"),
    ],
    ids=["scheme", "preset", "replay", "record"],
)
def test_a_wrong_call_is_refused_in_one_sentence(
    elsewhere: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = call(elsewhere, "hil", "conformance", *arguments, "--out", "runs/x")
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
