"""H10, H11, H23: the right chip, real where it must be, and pulsed only where --yes is said."""

import json

import numpy as np
import pytest

from hil import backends
from hil.audit import AUDIT_FILE, read_audit
from hil.backends import open_chip
from hil.chip_records import chip_folder
from hil.errors import RequestError
from hil.guard import open_guard
from hil.info import BackendKind, PulseFamily
from hil.record import load_record
from hil.requests import Pulse
from sim_backend.opening import open_sim

VERBS: list[str] = []
SERIAL = "SIM-HERMES-0000007"
FAKE = "fake:hermes?rows=64&cols=64&seed=7"


def open_fake(address):
    """A simulated chip that says it is silicon, as a board would, and notes every verb."""
    inner = backends.parse_address(f"sim:{address.text.partition(':')[2]}")
    chip = open_sim(inner)
    for core in chip.cores:
        core._info = core.info.model_copy(update={"backend": BackendKind.SILICON})
        core.observe(lambda event: VERBS.append(event.verb))
    cores = tuple(core.info for core in chip.cores)
    chip.info = chip.info.model_copy(
        update={"backend": BackendKind.SILICON, "address": address.text, "cores": cores}
    )
    return chip


@pytest.fixture(autouse=True)
def silicon(monkeypatch):
    VERBS.clear()
    monkeypatch.setitem(backends._BUILT_IN, "fake", f"{__name__}:open_fake")


@pytest.fixture
def hil(hil, tmp_path):
    np.save(tmp_path / "w.npy", np.random.default_rng(0).standard_normal((20, 10)))
    return hil


PROGRAM = ("program", "w.npy", "--method", "open_loop", "--core", FAKE)


def test_program_on_silicon_without_yes_sends_nothing_and_shows_the_plan(hil, tmp_path):
    code, out, err = hil(*PROGRAM)
    said = json.loads(out)
    assert (code, said["dry_run"], said["chip_serial"]) == (0, True, SERIAL)
    (method,) = said["costs"]["methods"]
    assert method["pulses"] == method["worst_pulses"] == 20 * 10 * 4
    assert said["costs"]["wear"]["budget"]["pulses_per_device"] == 1_000_000
    assert set(VERBS) <= {"safe_state"}
    assert "give --yes" in err
    assert [p.name for p in tmp_path.iterdir()] == ["w.npy"]
    assert not chip_folder(SERIAL).exists()


def test_program_on_silicon_with_yes_pulses_counts_and_logs(hil, tmp_path):
    code, out, _ = hil(*PROGRAM, "--yes", "--out", "a")
    assert code == 0
    assert json.loads(out)["backend"] == "silicon"
    assert "program" in VERBS
    opened, *_, closed = read_audit(chip_folder(SERIAL) / AUDIT_FILE)
    assert opened["command"][:2] == ["hil", "program"]
    assert sum(row["pulses"] for row in closed["pulses"]) == closed["wear"] == 20 * 10 * 4
    _, out, _ = hil("wear", SERIAL)
    assert json.loads(out)["pulses"] == 20 * 10 * 4
    _, out, err = hil(*PROGRAM)
    assert json.loads(out)["costs"]["wear"]["most_of_a_device"] == 1
    assert "800 pulses so far" in err


def test_no_command_line_pulses_silicon_without_yes_and_no_program_of_ones_own_needs_it():
    with open_chip(FAKE) as chip:
        info = chip.info
    pulse = Pulse.of(PulseFamily.RESET, device=0, rows=0, cols=0, amplitude=5, width=1)
    with (
        open_guard(info, command=("hil", "anything")) as guard,
        pytest.raises(RequestError, match="only with --yes"),
    ):
        guard.admit(0, pulse)
    for command in (("hil", "anything", "--yes"), ("python", "mine.py"), ()):
        with open_guard(info, command=command) as guard:
            guard.admit(0, pulse)


@pytest.mark.parametrize("args", [("run", "digits"), ("demo",), ("ablate", "digits")], ids=str)
def test_recipe_on_silicon_without_yes_is_a_dry_run(hil, tmp_path, args):
    core = "fake:hermes?cores=2&seed=7"
    code, out, err = hil(*args, "--core", core)
    said = json.loads(out)
    assert (code, said["dry_run"], said["command"]) == (0, True, args[0])
    assert {m["method"] for m in said["costs"]["methods"]} == {"verify", "gdp"}
    assert set(VERBS) <= {"safe_state"}
    assert "dry run" in err
    assert [p.name for p in tmp_path.iterdir()] == ["w.npy"]


@pytest.mark.parametrize("yes", [(), ("--yes",)], ids=["dry", "yes"])
def test_another_serial_is_refused_before_any_verb_that_changes_the_chip(hil, tmp_path, yes):
    for command in (PROGRAM, ("run", "digits", "--core", "fake:hermes?cores=2&seed=7")):
        VERBS.clear()
        code, out, err = hil(*command, *yes, "--expect-serial", "OTHER-9", "--out", "a")
        assert (code, out) == (2, "")
        assert f"is {SERIAL}, not OTHER-9" in err
        assert set(VERBS) <= {"safe_state"}


def test_right_serial_is_let_in(hil):
    command = ("program", "w.npy", "--method", "open_loop", "--out", "a")
    core = "sim:hermes?rows=64&cols=64&seed=7"
    assert hil(*command, "--core", core, "--expect-serial", SERIAL)[0] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('chip.require="silicon"', "silicon is required, but sim answers"),
        ('chip.serial="OTHER-9"', "not OTHER-9"),
    ],
)
def test_recipe_that_requires_silicon_or_a_serial_fails_on_another(hil, change, words):
    for command in ("run", "plan"):
        core = ("--core", "sim:hermes?cores=2&seed=7", "--set", change, "--out", "a")
        code, _, err = hil(command, "digits", *core)
        assert code == 2
        assert words in err


def test_recipe_with_a_serial_and_chip_seeds_is_refused(hil):
    code, _, err = hil("plan", "digits", "--set", 'chip.serial="A"', "--set", "chip.seeds=[1,2]")
    assert code == 2
    assert "serial names one chip" in err


@pytest.mark.parametrize("command", ["mvm", "inference", "program"])
def test_bench_refuses_silicon_it_keeps_no_ledger(hil, command):
    code, _, err = hil("bench", command, "--core", FAKE)
    assert code == 2
    assert "keeps no wear ledger" in err
    assert set(VERBS) <= {"safe_state"}


def test_exhausted_budget_stops_a_session_and_the_record_says_so(hil, tmp_path):
    folder = chip_folder(SERIAL)
    folder.mkdir(parents=True)
    (folder / "limits.toml").write_text(
        'schema_version = 1\nmodel = "hermes"\ntitle = "own"\n'
        "[pulses.reset]\n[pulses.set]\n[budget]\npulses_per_chip = 900\n"
    )
    assert hil(*PROGRAM, "--yes", "--out", "a")[0] == 0
    assert hil("adopt", FAKE)[0] == 0  # the made-up chip counts from zero whenever it is opened
    code, _, err = hil(*PROGRAM, "--yes", "--out", "b")
    assert code == 2
    assert "has had 800 pulses; 800 more would exceed the budget of 900" in err
    assert load_record(tmp_path / "b").error.kind == "RequestError"
    _, out, _ = hil("wear", SERIAL)
    assert json.loads(out)["pulses"] == 800
    _, _, err = hil(*PROGRAM)
    assert "pulses_per_chip: 1,600 predicted, 900 allowed" in err
