"""A link carries codes and changes none: directly, through frames, recorded, replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import RequestError, open_chip
from hil.conformance.transcript import transcript


def said(address: str, seed: int) -> list[Any]:
    with open_chip(address) as chip:
        return transcript(chip, np.random.default_rng(seed))[len(chip.cores) :]  # infos: elsewhere


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("seed", [0, 1])
def test_loopback_gives_the_codes_of_the_chip_behind_it(inner_address: str, seed: int) -> None:
    """Programming, reads, MVMs, settings and times: equal to the bit, noise included."""
    direct, framed = said(inner_address, seed), said(f"loopback:{inner_address}", seed)
    assert len(direct) == len(framed)
    assert all(map(equal, direct, framed))


@pytest.mark.parametrize("link", ["", "loopback:"])
def test_a_recording_and_its_replay_give_the_codes_of_the_chip(
    inner_address: str, link: str, tmp_path: Path
) -> None:
    file = tmp_path / "one.rec"
    direct = said(inner_address, 2)
    recorded = said(f"record:{link}{inner_address}&to={file}", 2)
    replayed = said(f"replay:{file}", 2)
    assert len(direct) == len(recorded) == len(replayed)
    assert all(map(equal, direct, recorded))
    assert all(map(equal, direct, replayed))


@pytest.mark.parametrize(
    "wrong", ["loopback:", "loopback:nosuch:x", "loopback:sim:nosuch", "loopback:sim:ideal?x=1"]
)
def test_a_wrong_inner_address_is_the_callers_error(wrong: str) -> None:
    with pytest.raises(RequestError):
        open_chip(wrong)
