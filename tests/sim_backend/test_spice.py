"""The static net and pulse-width windows against ngspice: kept results, and a run where it is."""

import shutil
import tempfile
from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import solveh_banded

from hil.errors import RecordError, RequestError
from sim_backend.circuit import NetWires, ReadEnds, effective_net
from sim_backend.circuit import spice_golden as golden
from sim_backend.circuit.spice import spice_charges, spice_currents
from sim_backend.circuit.spice_cases import CASES, G_MAX_SIEMENS
from sim_backend.circuit.spice_golden import golden_names, load_golden, make_golden
from sim_backend.circuit.spice_netlist import (
    Idle,
    PulseInput,
    RestInput,
    pulse_netlist,
    rest_netlist,
)
from sim_backend.circuit.spice_run import SpiceError, ngspice_path, read_raw, run_ngspice

needs_ngspice = pytest.mark.skipif(ngspice_path() is None, reason="needs ngspice")
LINE = NetWires(bit_ohm=0.35, read_ohm=0.175)


def solved(net: RestInput):
    found = effective_net(torch.from_numpy(net.device_siemens), net.wires)
    return found.currents(torch.from_numpy(net.drive_volt), net.read_volt).numpy()


def line_current(siemens, volt, ohm, read_ohm, read_volt):
    """Current out of the last node of one bit line; devices from `volt` to their node."""
    wire, lead = 1.0 / ohm, 1.0 / read_ohm
    banded = np.zeros((2, len(siemens[0])))
    banded[0, 1:] = -wire
    banded[1] = siemens.sum(0)
    banded[1, :-1] += wire
    banded[1, 1:] += wire
    banded[1, -1] += lead
    source = (siemens * volt).sum(0)
    source[-1] += lead * read_volt
    return float((solveh_banded(banded, source)[-1] - read_volt) * lead)


def charge_by_slots(net: PulseInput):
    """Sum the currents of a new net per stretch of time in which no input ends."""
    width = np.abs(net.codes)
    total = np.zeros(net.device_siemens.shape[2])
    ends = np.unique(np.append(width, net.slots))
    for first, last in zip(np.append(0, ends[:-1]), ends, strict=True):
        on = width > first
        adds = np.stack([net.codes > 0, net.codes < 0])
        volt = np.where(on, np.where(adds, net.add_volt, net.subtract_volt), net.idle_volt)
        siemens = net.device_siemens
        if net.idle is Idle.DISCONNECTED:
            siemens = np.where(on[:, None], siemens, 0.0)
        total += (last - first) * net.slot_s * slot_currents(net, siemens, volt)
    return total


def slot_currents(net: PulseInput, siemens, volt):
    wires = net.wires
    if wires.word_ohm or wires.source_ohm:
        rest = RestInput(
            device_siemens=siemens, wires=wires, drive_volt=volt[None], read_volt=net.read_volt
        )
        return solved(rest)[0]
    current = []
    for col, at_top in enumerate(wires.read_at_first_row(siemens.shape[2]).tolist()):
        way = slice(None, None, -1 if at_top else 1)
        line = siemens[:, way, col], volt[:, way]
        current.append(line_current(*line, wires.bit_ohm, wires.read_ohm, net.read_volt))
    return np.array(current)


@pytest.mark.parametrize("name", golden_names("rest"))
def test_net_at_rest_is_that_of_ngspice(name):
    kept = load_golden(name)
    error = np.abs(solved(kept.net) - kept.output_ampere).max()
    assert error < 1e-9 * kept.full_scale_ampere


@pytest.mark.parametrize("name", golden_names("pulse"))
def test_charge_of_a_window_is_the_sum_of_its_slots(name):
    kept = load_golden(name)
    error = np.abs(charge_by_slots(kept.net) - kept.charge_coulomb).max()
    assert error < 1e-8 * kept.full_scale_coulomb


def test_every_case_is_kept():
    assert set(golden_names()) == set(CASES)
    assert set(golden_names("rest")) | set(golden_names("pulse")) == set(golden_names())


def test_kept_results_are_worth_comparing_with():
    """The wires matter in them: an ideal crossbar is far from what ngspice gave."""
    kept = load_golden("rest-64-far-half")
    ideal = np.einsum("bli,lij->bj", kept.net.drive_volt, kept.net.device_siemens)
    assert np.abs(ideal - kept.output_ampere).max() > 1e-2 * kept.full_scale_ampere
    clamped, free = (load_golden(f"pulse-512-weights-{m}") for m in ("clamped", "disconnected"))
    apart = np.abs(clamped.charge_coulomb - free.charge_coulomb).max()
    assert apart > 1e-4 * clamped.full_scale_coulomb


def test_an_unknown_or_changed_golden_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="no golden result 'rest-7'"):
        load_golden("rest-7")
    with pytest.raises(RequestError, match="no case 'rest-7'"):
        make_golden("rest-7")
    text = (golden._FOLDER / "rest-8-random.json").read_text()
    (tmp_path / "changed.json").write_text(text.replace('"seed":5', '"seed":6'))
    (tmp_path / "cut.json").write_text(text[:200])
    monkeypatch.setattr(golden, "_FOLDER", tmp_path)
    with pytest.raises(RecordError, match="gives other numbers"):
        load_golden("changed")
    with pytest.raises(RecordError, match="no golden result"):
        load_golden("cut")


def random_net(**wires) -> RestInput:
    rng = np.random.default_rng(3)
    g = rng.uniform(0.0, G_MAX_SIEMENS, (2, 6, 5))
    g[rng.uniform(size=g.shape) < 0.3] = 0.0
    drive = rng.uniform(-0.2, 0.2, (2, 2, 6))
    return RestInput(device_siemens=g, wires=NetWires(**wires), drive_volt=drive, read_volt=0.05)


@needs_ngspice
@pytest.mark.parametrize(
    "wires",
    [
        {},
        {"word_ohm": 30.0},
        {"bit_ohm": 30.0, "ends": ReadEnds.BOTTOM},
        {"word_ohm": 20.0, "bit_ohm": 30.0, "source_ohm": 500.0, "read_ohm": 90.0},
    ],
)
def test_ngspice_run_now_gives_the_same(wires):
    net = random_net(**wires)
    found = spice_currents(net, timeout_s=60.0)
    np.testing.assert_allclose(solved(net), found, rtol=0, atol=1e-10 * np.abs(found).max())


@needs_ngspice
@pytest.mark.parametrize("idle", Idle)
def test_ngspice_run_now_gives_the_same_charge(idle):
    rng = np.random.default_rng(4)
    net = PulseInput(
        device_siemens=rng.uniform(0.0, 10 * G_MAX_SIEMENS, (2, 5, 2)),
        wires=LINE,
        codes=np.array([127, -3, 0, 60, -60]),
        idle=idle,
    )
    found = spice_charges(net, timeout_s=60.0)
    np.testing.assert_allclose(charge_by_slots(net), found, rtol=0, atol=1e-6 * np.abs(found).max())


@needs_ngspice
def test_a_run_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    spice_currents(random_net(), timeout_s=60.0)
    with pytest.raises(SpiceError):
        run_ngspice(lambda _: "* no net\n.control\nquit 1\n.endc\n.end\n", timeout_s=60.0)
    assert list(tmp_path.iterdir()) == []


@needs_ngspice
def test_a_netlist_without_a_solution_is_an_error():
    loop = "* loop\nV1 a 0 dc 1\nV2 a 0 dc 2\n.control\nop\nwrite {}\nquit\n.endc\n.end\n"
    with pytest.raises(SpiceError):
        run_ngspice(loop.format, timeout_s=60.0)


def test_a_missing_ngspice_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SpiceError, match="not installed"):
        spice_currents(random_net())


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exec sleep 30", "was ended after 0.2 s"),
        ("echo no good; exit 3", "gave 3: no good"),
        ("echo fine", "wrote no result: fine"),
        ("echo junk > result.raw", "no raw file"),
    ],
)
def test_a_program_that_fails_is_named(tmp_path, monkeypatch, script, sentence):
    fake = tmp_path / "ngspice"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(SpiceError, match=sentence):
        run_ngspice(partial(rest_netlist, random_net()), timeout_s=0.2 if "30" in script else 20.0)


RAW = (
    "Title: x\nFlags: {flags}\nNo. Variables: 2\nNo. Points: 2       \nVariables:\n"
    "\t0\ttime\ttime\n\t1\tI(VO0)\tcurrent\nValues:\n 0\t0.0e+00\n\t1.5e-06\n\n 1\t1.0e+00\n"
    "\t-2.5e-06\n\n"
)


def test_a_raw_file_is_read_point_by_point():
    found = read_raw(RAW.format(flags="real"))
    assert found.columns(("time", "i(vo0)")).tolist() == [[0.0, 1.5e-6], [1.0, -2.5e-6]]
    with pytest.raises(SpiceError, match=r"no 'i\(vo1\)'"):
        found.columns(("i(vo1)",))


@pytest.mark.parametrize("length", range(0, len(RAW) - 12, 17))
def test_a_cut_raw_file_is_refused(length):
    with pytest.raises(SpiceError):
        read_raw(RAW.format(flags="real")[:length])


def test_a_raw_file_of_another_kind_is_refused():
    with pytest.raises(SpiceError, match="complex"):
        read_raw(RAW.format(flags="complex"))
    with pytest.raises(SpiceError, match="more than one"):
        read_raw(2 * RAW.format(flags="real"))


def test_open_devices_and_ideal_wires_are_not_in_the_netlist():
    net = random_net()
    text = rest_netlist(net, "x.raw")
    assert text.count("\nRD") == np.count_nonzero(net.device_siemens)
    assert "\nRW" not in text
    assert "\nRB" not in text


def test_a_code_beyond_the_window_is_refused():
    with pytest.raises(RequestError, match="outside -127"):
        PulseInput(
            device_siemens=np.zeros((2, 1, 1)),
            wires=LINE,
            codes=np.array([128]),
            idle=Idle.CLAMPED,
        )


def test_a_pulse_of_the_whole_window_has_no_edge():
    net = PulseInput(
        device_siemens=np.full((2, 3, 1), 1e-6),
        wires=LINE,
        codes=np.array([127, 0, -5]),
        idle=Idle.CLAMPED,
    )
    sources = [line for line in pulse_netlist(net, "x.raw").splitlines() if line.startswith("VI")]
    assert [("PWL" in line) for line in sources] == [False, False, False, False, True, True]
