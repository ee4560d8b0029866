"""Chips under the conformance suite: simulated, behind links of every kind, and any board."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hil.conformance.fixtures import (
    board,
    board_name,
    chip,
    make_pulses,
    open_board,
    parametrize_boards,
    quiet_chip,
)

__all__ = [
    "board",
    "board_address",
    "board_name",
    "chip",
    "make_pulses",
    "open_board",
    "quiet_chip",
]

QUIET = (
    "sim:ideal?rows=24&cols=20&cores=2&seed=7",
    "sim:hermes?rows=24&cols=20&cores=2&seed=7&noise=off&off=drift+relaxation",
)
"""Chips whose answer depends on the request and the cells alone."""

NOISY = (
    "sim:hermes?rows=24&cols=20&cores=2&seed=7&devices=2",
    "sim:aon?rows=20&cols=24&seed=7&adc_bits=10",
)

STATISTICAL = "sim:hermes?rows=24&cols=20&cores=2&seed=7&noise=off&off=drift&fidelity=statistical"
"""A chip that takes targets; links carry its codes as they carry all others."""

CIRCUIT = (
    f"{QUIET[1]}&fidelity=circuit",
    f"{NOISY[0]}&fidelity=circuit&idle=disconnected",
)
"""Chips that are read through their tile circuit; links carry these codes likewise."""

EMULATED = (f"serial-on-pty {QUIET[1]}", f"tcp-on-socket {QUIET[0]}", f"visa-on-socket {NOISY[0]}")
"""A chip in another process: how it is reached, and what it is."""


START_LIMIT_S = 120.0
"""Wait for an emulator to say where it answers, s."""
END_LIMIT_S = 20.0


class Peers:
    """Emulated boards by the address of the chip they serve, started when first asked for."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[subprocess.Popen[str], dict[str, Any]]] = {}

    def address(self, link: str, inner: str) -> str:
        """Return the address of the chip `inner` behind a link: serial, tcp or visa."""
        if inner not in self._started:
            self._started[inner] = self._start(inner)
        addresses = self._started[inner][1]["addresses"]
        socket = next(a for a in addresses if a.startswith("tcp:"))
        if link == "visa":
            _, host, port = socket.split(":")
            return f"visa:TCPIP::{host}::{port}::SOCKET"
        return next(a for a in addresses if a.startswith(f"{link}:"))

    def close(self) -> None:
        """End every emulator; its chip goes into the safe state first."""
        for process, _ in self._started.values():
            process.send_signal(signal.SIGINT)
        for process, _ in self._started.values():
            try:
                process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._started.clear()

    def _start(self, inner: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = ("hil", "emulate", "--core", inner, "--pty", "--tcp", "127.0.0.1:0")
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], START_LIMIT_S)[0]:
            process.kill()
            process.wait()
            process.stdout.close()
            raise AssertionError(f"{' '.join(command)} said nothing within {START_LIMIT_S:g} s")
        return process, json.loads(process.stdout.readline())


@pytest.fixture(scope="session")
def peers() -> Iterator[Peers]:
    """Emulated boards, started when first asked for."""
    started = Peers()
    yield started
    started.close()


@pytest.fixture(scope="session")
def board_address(board_name: str, request: pytest.FixtureRequest) -> str:
    """Address of the board; one behind a link is started first."""
    link, space, inner = board_name.partition(" ")
    if not space:
        return board_name
    started: Peers = request.getfixturevalue("peers")
    return started.address(link.partition("-")[0], inner)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    simulated = (*QUIET, *NOISY)
    if "inner_address" in metafunc.fixturenames:
        metafunc.parametrize("inner_address", simulated)
    framed = [f"loopback:{address}" for address in simulated]
    boards = metafunc.config.getoption("board", [])
    parametrize_boards(metafunc, [*simulated, STATISTICAL, *CIRCUIT, *framed, *EMULATED, *boards])
