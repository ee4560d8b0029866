"""Chips under the conformance suite: simulated, the same through encoded frames, and any board."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hil import Chip, open_chip

QUIET = (
    "sim:ideal?rows=24&cols=20&cores=2&seed=7",
    "sim:hermes?rows=24&cols=20&cores=2&seed=7&noise=off&off=drift+relaxation",
)
"""Chips whose answer depends on the request and the cells alone."""

NOISY = (
    "sim:hermes?rows=24&cols=20&cores=2&seed=7&devices=2",
    "sim:aon?rows=20&cols=24&seed=7&adc_bits=10",
)


def _with_loopback(addresses: tuple[str, ...]) -> list[str]:
    return [*addresses, *(f"loopback:{address}" for address in addresses)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    boards = metafunc.config.getoption("--board")
    if "quiet_chip" in metafunc.fixturenames:
        metafunc.parametrize("quiet_address", _with_loopback(QUIET))
    elif "shared_chip" in metafunc.fixturenames:
        every = [*_with_loopback((*QUIET, *NOISY)), *boards]
        metafunc.parametrize("shared_address", every, scope="module")
    elif "twins" in metafunc.fixturenames:
        metafunc.parametrize("twin_address", [*QUIET, *NOISY], scope="module")
    elif "inner_address" in metafunc.fixturenames:
        metafunc.parametrize("inner_address", [*QUIET, *NOISY])
    elif "address" in metafunc.fixturenames:
        metafunc.parametrize("address", [*_with_loopback((*QUIET, *NOISY)), *boards])


@pytest.fixture
def chip(address: str) -> Iterator[Chip]:
    """Any chip, noise and all."""
    with open_chip(address) as opened:
        yield opened


@pytest.fixture
def quiet_chip(quiet_address: str) -> Iterator[Chip]:
    """A chip without noise and drift."""
    with open_chip(quiet_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_chip(shared_address: str) -> Iterator[Chip]:
    """Any chip, opened once: for requests that change nothing."""
    with open_chip(shared_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def twins(twin_address: str) -> Iterator[tuple[Chip, Chip]]:
    """The same chip twice, direct and through encoded frames; opened once."""
    with open_chip(twin_address) as direct, open_chip(f"loopback:{twin_address}") as framed:
        yield direct, framed
