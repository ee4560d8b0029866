"""`hil record`: any command on a chip leaves a recording that stands for the chip."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hil.cli import main
from hil.record import load_record

Answer = tuple[int, str, str]
CHIP = "sim:hermes?rows=24&cols=20&seed=7"


@pytest.fixture
def hil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run a command in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    np.save("weights.npy", np.random.default_rng(0).standard_normal((20, 16)))

    def run(*args: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["hil", *args])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def test_a_recorded_command_replays_to_the_same_results(hil: Callable[..., Answer]) -> None:
    program = ("program", "weights.npy", "--method", "verify", "--seed", "3")
    code, first, said = hil(
        "record", "--out", "one.rec", *program, "--core", CHIP, "--out", "first"
    )
    assert code == 0, said
    assert "replay:one.rec" in said
    code, again, said = hil(*program, "--core", "replay:one.rec", "--out", "again")
    assert code == 0, said
    one, other = load_record(Path("first")), load_record(Path("again"))
    assert one.journal is not None
    assert other.journal is not None
    assert one.journal.codes_digest == other.journal.codes_digest
    assert one.journal.verbs == other.journal.verbs
    assert one.chip is not None
    assert other.chip is not None
    assert (one.chip.backend, other.chip.backend) == ("sim", "replay")
    assert one.chip.serial == other.chip.serial
    varying = {"command", "out"}
    documents = [
        {k: v for k, v in json.loads(text).items() if k not in varying} for text in (first, again)
    ]
    assert documents[0]["mvm_error_affine"] == documents[1]["mvm_error_affine"]


def test_another_run_than_the_recorded_one_is_refused_in_one_sentence(
    hil: Callable[..., Answer],
) -> None:
    assert hil("record", "--out", "one.rec", "calibrate", "--core", CHIP)[0] == 0
    code, out, said = hil("program", "weights.npy", "--core", "replay:one.rec")
    assert (code, out) == (2, "")
    assert "replay one.rec, verb" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("nosuch",), "no command that can be recorded"),
        (("data", "list"), "opens no chip"),
        (("record", "--out", "b", "info"), "no command that can be recorded"),
        (("run", "digits", "--set", "chip.seeds=[1, 2]"), "runs on 2 chips"),
        (("info", "sim:nosuch"), "nosuch"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_leaves_no_file(
    hil: Callable[..., Answer], command: tuple[str, ...], sentence: str
) -> None:
    code, out, said = hil("record", "--out", "one.rec", *command)
    assert (code, out) == (2, "")
    assert sentence in said
    assert not Path("one.rec").exists()


def test_a_recording_is_not_overwritten(hil: Callable[..., Answer]) -> None:
    Path("one.rec").write_text("precious")
    code, _, said = hil("record", "--out", "one.rec", "info", CHIP)
    assert code == 2
    assert "never overwritten" in said
    assert Path("one.rec").read_text() == "precious"
