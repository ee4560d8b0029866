"""The command line: one JSON line on stdout, sentences on stderr, the four exit codes."""

import json

import numpy as np
import pytest

from hil import backends
from hil.cli import app
from hil.core import Chip
from hil.errors import CoreTimeoutError, CoreUnavailableError, DeviceFaultError
from hil.record import RunStatus, load_record

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)


@pytest.fixture
def weights(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((40, 30))
    np.save(tmp_path / "weights.npy", matrix)
    return tmp_path / "weights.npy"


def one_line(out):
    assert out.count("\n") == 1
    return json.loads(out)


def test_help_names_every_command_the_addresses_and_the_exit_codes(hil):
    code, out, _ = hil("--help")
    assert code == 0
    for word in [*COMMANDS, "ADDRESSES", "EXIT CODES", "EXAMPLES", "sim:hermes", "loopback:"]:
        assert word in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(hil, command):
    code, out, _ = hil(command, "--help")
    assert code == 0
    assert "Usage" in out


def test_info_says_what_answers_in_one_line_and_writes_nothing(hil, tmp_path):
    code, out, err = hil("info", "sim:ideal?cores=2&seed=3")
    said = one_line(out)
    assert code == 0
    assert said["backend"] == "sim"
    assert len(said["cores"]) == 2
    assert said["serial"] in err
    assert list(tmp_path.iterdir()) == []


def test_program_writes_a_run_folder_that_names_the_chip_and_repeats(hil, weights, tmp_path):
    command = ("program", weights, "--core", "sim:ideal", "--method", "open_loop", "--out", "a")
    code, out, _ = hil(*command)
    first = one_line(out)
    assert code == 0
    record = load_record(tmp_path / "a")
    assert record.status is RunStatus.DONE
    assert record.command == ("hil", *map(str, command))
    assert record.chip.backend == "sim"
    assert record.journal.unfinished == 0
    assert (tmp_path / "a" / "wear.npz").exists()
    code, out, _ = hil(*command)
    again = one_line(out)
    assert again.pop("out") == "a-2"
    same = load_record(tmp_path / "a-2").journal.codes_digest == record.journal.codes_digest
    assert same
    assert again["mvm_error"] == first["mvm_error"]


def test_a_goal_that_is_not_met_is_exit_code_1_and_stands_in_the_record(hil, weights, tmp_path):
    command = ("program", weights, "--core", "sim:hermes?cores=1", "--method", "open_loop")
    code, out, _ = hil(*command, "--goal", "0.001", "--out", "a")
    assert code == 1
    assert one_line(out)["goal_met"] is False
    assert load_record(tmp_path / "a").status is RunStatus.GOAL_NOT_MET


def test_calibrate_keeps_a_record_per_core_and_quantity(hil, tmp_path):
    code, out, _ = hil("calibrate", "--core", "sim:hermes?cores=2&seed=1", "--out", "c")
    rows = one_line(out)["calibrations"]
    assert code == 0
    assert [(r["core"], r["kind"]) for r in rows] == [
        (core, kind) for core in (0, 1) for kind in ("adc-offset", "adc-gain")
    ]
    assert all((tmp_path / "c" / r["file"]).exists() for r in rows)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["info", "nonsense"], "no scheme"),
        (["info", "usb:1"], "unknown scheme 'usb'; known: sim, loopback"),
        (["info", "sim:mermes"], "unknown preset 'mermes'"),
        (["info", "sim:ideal?colour=3"], "unknown option 'colour'; known: "),
        (["program", "gone.npy"], "gone.npy cannot be read"),
        (["program", "nan.npy"], "1 of 6 are NaN or infinite"),
        (["program", "cube.npy"], r"shape (2, 2, 2)"),
        (["program", "text.npy"], "no whole array of numbers"),
        (["program", "ok.npy", "--core", "usb:1"], "unknown scheme"),
        (["run", "no-such"], "bundled recipes: digits"),
        (["run", "digits", "--set", "data.sample=3"], "unknown key 'data.sample'"),
        (["run", "digits", "--set", "network.checkpoint=none"], "neither a file nor bundled"),
        (["run", "digits", "--set", "network.checkpoint=ok.npy"], "ok.npy"),
        (["run", "digits", "--set", "programming.settings.gdp.speed=3"], "speed"),
        (["run", "digits", "--core", "usb:1"], "unknown scheme"),
        (["report", "nowhere"], "not a run folder"),
        (["train", "--network", "vgg"], "vgg"),
        (["train", "--dataset", "imagenet"], "imagenet"),
        (["train", "--device", "tpu"], "known: cpu, cuda"),
    ],
)
def test_bad_input_is_one_sentence_exit_2_and_nothing_but_a_log(hil, tmp_path, args, words):
    np.save(tmp_path / "ok.npy", np.ones((3, 2)))
    np.save(tmp_path / "nan.npy", np.array([[1, 2, np.nan], [3, 4, 5]]))
    np.save(tmp_path / "cube.npy", np.ones((2, 2, 2)))
    (tmp_path / "text.npy").write_text("not an array")
    before = set(tmp_path.rglob("*"))
    code, out, err = hil(*args)
    assert code == 2
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
    new = {p.name for p in set(tmp_path.rglob("*")) - before if p.is_file()}
    assert new <= {"record.json", "manifest.json", "run.log"}


def test_a_wrong_option_is_exit_2(hil):
    code, out, err = hil("run", "digits", "--speed", "3")
    assert (code, out) == (2, "")
    assert "--speed" in err


def test_a_network_that_does_not_fit_is_refused_before_any_pulse(hil, tmp_path):
    code, out, err = hil("run", "digits", "--core", "sim:ideal?cores=1", "--out", "a")
    assert (code, out) == (2, "")
    assert "does not fit" in err
    assert "reprogram" in err
    record = load_record(tmp_path / "a")
    assert record.status is RunStatus.REFUSED
    assert record.journal.verbs.get("program", 0) == 0


def open_broken(_address):
    """A back-end that fails as the test says."""
    raise FAILURE[0]


FAILURE = [Exception()]


@pytest.mark.parametrize(
    "error",
    [
        CoreUnavailableError("nothing answers at broken:"),
        CoreTimeoutError("no reply within 1 s"),
        DeviceFaultError("the board refused the pulse"),
    ],
)
def test_a_core_that_fails_is_exit_3_with_a_readable_record(
    hil, weights, tmp_path, monkeypatch, error
):
    monkeypatch.setitem(backends._BUILT_IN, "broken", f"{__name__}:open_broken")
    FAILURE[0] = error
    code, out, err = hil("program", weights, "--core", "broken:x", "--out", "a")
    assert (code, out) == (3, "")
    assert err.strip() == f"hil: {error}"
    assert load_record(tmp_path / "a").status is RunStatus.FAILED


def test_the_keyboard_ends_a_run_with_130_and_the_record_says_so(
    hil, weights, tmp_path, monkeypatch
):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Chip, "__enter__", interrupt)
    code, out, _ = hil("program", weights, "--core", "sim:ideal", "--out", "a")
    assert (code, out) == (130, "")
    assert load_record(tmp_path / "a").status is RunStatus.INTERRUPTED
