"""`hil emulate`: a board in another process gives what the simulator gives, over every line."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from hil import CellRead, MvmRequest, Pulse, PulseFamily, open_chip, program_matrix
from hil.errors import CoreUnavailableError, HilError, RequestError
from hil.programming import algorithm

CORE = "sim:hermes?rows=24&cols=20&cores=2&seed=7"
TIMEOUT_S = 120.0
WEIGHTS = np.random.default_rng(5).standard_normal((20, 12))
INPUTS = np.random.default_rng(6).standard_normal((8, 20))
ROUTES = ("serial", "tcp", "visa-socket", "visa-serial")


@contextmanager
def emulator(folder, *options, core=CORE):
    """A board in another process: its process, and what it said when it was ready."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        (sys.executable, "-m", "hil", "emulate", "--core", core, *map(str, options)),
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)["addresses"]
    finally:
        process.kill()
        process.communicate()


def address_of(route, folder, addresses):
    tcp, serial = addresses
    host, port = tcp.split(":")[1:]
    return {
        "serial": serial,
        "tcp": tcp,
        "visa-socket": f"visa:TCPIP::{host}::{port}::SOCKET",
        "visa-serial": f"visa:ASRL{folder / 'board'}::INSTR",
    }[route]


def exercised(address):
    """Everything a short gradient-descent run and plain verbs on a fresh chip give."""
    with open_chip(address) as chip:
        matrix = program_matrix(chip, WEIGHTS, method=algorithm("gdp", max_iterations=8), seed=1)
        report = matrix.report.model_dump(exclude={"wall_s"})
        found = [matrix.matmul(INPUTS), np.array([report["mvm_error"], report["chip_s"]])]
        for core in chip.cores:
            every = np.arange(24 * 20)
            read = core.read(CellRead.of(device=0, rows=every // 20, cols=every % 20))
            codes = np.arange(24, dtype=np.int16).reshape(1, 24)
            product = core.mvm(MvmRequest(input_codes=codes))
            found += [read.codes, read.saturated, product.output_codes, np.array(product.at_s)]
        chip.wait(3600.0)
        found += [np.array(chip.now_s()), np.array([c.status().pulses for c in chip.cores])]
    return found


@pytest.fixture(scope="module")
def simulated():
    return exercised(CORE)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("route", ROUTES)
def test_programming_and_verbs_give_the_same_bits_as_the_simulator(route, tmp_path, simulated):
    options = ("--pty", "--link", tmp_path / "board", "--tcp", "127.0.0.1:0")
    with emulator(tmp_path, *options) as (process, addresses):
        assert_same(exercised(address_of(route, tmp_path, addresses)), simulated)
        process.terminate()
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, out) == (0, "")
        assert "the chip is in its safe state; hosts 1" in err
    assert not (tmp_path / "board").is_symlink()


def test_a_faulty_throttled_line_changes_time_and_no_bit(tmp_path, simulated):
    plan = "loss=0.01,flip=0.01,duplicate=0.01,split=0.02,delay=0.01,delay_s=0.01,boot_text=1"
    options = ("--pty", "--baud", "3000000", "--latency", "0.001", "--faults", plan)
    with emulator(tmp_path, *options) as (process, (address,)):
        assert address.endswith("?baud=3000000")
        assert_same(exercised(address), simulated)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
        assert ", lost " in err
        assert ", flipped " in err


def pulse(family=PulseFamily.SET, amplitude=120):
    return Pulse.of(family, device=0, rows=[3, 5], cols=[2, 7], amplitude=amplitude, width=10)


def test_hosts_share_a_board_and_a_host_that_dies_leaves_it_free(tmp_path):
    with emulator(tmp_path, "--pty", "--tcp", "127.0.0.1:0") as (_, (tcp, serial)):
        code = (
            "import sys, time; from hil import open_chip; chip = open_chip(sys.argv[1]);"
            "print('open', flush=True); time.sleep(600)"
        )
        for address in (tcp, serial):
            other = subprocess.Popen(
                (sys.executable, "-c", code, address), stdout=subprocess.PIPE, text=True
            )
            assert other.stdout.readline() == "open\n"
            with pytest.raises(CoreUnavailableError, match=rf"process {other.pid} "):
                open_chip(address)
            other.kill()
            other.communicate()
            chip = opened_soon(address)
            with chip:
                chip.cores[0].read(CellRead.of(device=0, rows=[0], cols=[0]))


def opened_soon(address):
    """Open a chip whose last owner has just died."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return open_chip(address)
        except CoreUnavailableError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


@pytest.mark.parametrize("route", ["serial", "tcp", "visa-socket"])
def test_a_board_that_vanishes_is_a_clear_error_and_no_wait(route, tmp_path):
    options = ("--pty", "--link", tmp_path / "board", "--tcp", "127.0.0.1:0")
    with emulator(tmp_path, *options) as (process, addresses):
        chip = open_chip(address_of(route, tmp_path, addresses))
        process.kill()
        process.communicate()
        with pytest.raises(HilError, match=r"is gone .*open the chip again"):
            chip.cores[0].status()
        chip.close()


def test_cells_and_mutations_outlive_a_killed_board(tmp_path):
    options = ("--tcp", "127.0.0.1:0", "--state", "cells", "--mutations", "ids")
    core = f"{CORE}&noise=off&off=drift"
    every = CellRead.of(device=0, rows=[3, 5, 6], cols=[2, 7, 8])
    with emulator(tmp_path, *options, core=core) as (process, (address,)):
        chip = open_chip(address)
        for _ in range(5):
            chip.cores[1].program(pulse())
        before = chip.cores[1].read(every).codes
        assert before.max() > 0
        process.kill()
        process.communicate()
        chip.close()
    with emulator(tmp_path, *options, core=core) as (_, (address,)), open_chip(address) as chip:
        assert np.array_equal(chip.cores[1].read(every).codes, before)
        assert chip.cores[1].status().pulses == 10
        assert chip.cores[1].program(pulse()).pulses == 2


def test_a_board_refuses_pulses_outside_its_own_limits_in_one_sentence(tmp_path):
    with open_chip(CORE) as chip:
        scale = chip.cores[0].info.limits(PulseFamily.SET).amplitude
    most = float(scale.to_si(np.array([120]))[0])
    head = 'schema_version = 1\nmodel = "hermes"\ntitle = "a weak supply"\n'
    (tmp_path / "weak.toml").write_text(f"{head}[pulses.set]\namplitude_max_ampere = {most}\n")
    options = ("--tcp", "127.0.0.1:0", "--limits", "weak.toml")
    with emulator(tmp_path, *options) as (_, (address,)), open_chip(address) as chip:
        core = chip.cores[1]
        for wrong, words in (
            (pulse(amplitude=121), f"set amplitude_ampere .* is above {most:.6g}, the most that "),
            (pulse(PulseFamily.RESET), "pulse family reset is not listed in "),
        ):
            with pytest.raises(RequestError, match=rf"^{words}.*weak\.toml[^\n]*$"):
                core.program(wrong)
            assert core.status().pulses == 0
        assert core.program(pulse()).pulses == core.status().pulses == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nowhere to serve: give --pty"),
        (["--tcp", "0.0.0.0:0"], "can be reached from other machines"),
        (["--tcp", "board.example:5025"], "or say --any-interface"),
        (["--tcp", "5025"], "'5025' is not HOST:PORT"),
        (["--link", "board", "--tcp", "127.0.0.1:0"], "give --pty as well"),
        (["--pty", "--link", "taken"], "taken is there already"),
        (["--pty", "--baud", "3"], "--baud 3 is outside"),
        (["--pty", "--latency", "-1"], "--latency -1.0 is outside"),
        (["--pty", "--faults", "luck=0.1"], "unknown key 'luck'; known: loss"),
        (["--pty", "--state", "taken"], "taken"),
        (["--pty", "--limits", "taken"], "pulse limits 'taken' are not valid TOML"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_2(options, words, tmp_path, monkeypatch, capsys):
    from hil.cli import main  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_bytes(b"mine")
    monkeypatch.setattr(sys, "argv", ["hil", "emulate", "--core", "sim:ideal", *options])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert (tmp_path / "taken").read_bytes() == b"mine"
