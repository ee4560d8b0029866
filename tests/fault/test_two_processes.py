"""Two processes fight for one board: no mutation of one falls among those of the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil import open_chip

CORE = "sim:hermes?rows=24&cols=20&seed=7"
FIGHTER = Path(__file__).with_name("fighter.py")
ROOT = FIGHTER.parents[2]
TIMEOUT_S = 60.0


def started(*command):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        (sys.executable, *map(str, command)),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def fought(seconds):
    """What each of two fighters reports, and how many pulses the board applied."""
    board = started("-m", "hil", "emulate", "--core", CORE, "--tcp", "127.0.0.1:0")
    try:
        (address,) = json.loads(board.stdout.readline())["addresses"]
        fighters = [
            started(FIGHTER, address.removeprefix("tcp:"), seconds, seed) for seed in (1, 2)
        ]
        said = [f.communicate(timeout=seconds + TIMEOUT_S)[0] for f in fighters]
        assert [f.returncode for f in fighters] == [0, 0]
        with open_chip(address) as chip:
            pulses = chip.cores[0].status().pulses
    finally:
        board.kill()
        board.communicate()
    return [json.loads(text) for text in said], pulses


@pytest.mark.parametrize(
    ("seconds", "least"), [(3, 20), pytest.param(60, 2_000, marks=pytest.mark.sweep)]
)
def test_no_mutation_is_interleaved_and_the_loser_reads_who_won(seconds, least):
    fighters, pulses = fought(seconds)
    applied = sorted(
        (mutation, token, who)
        for who, fighter in enumerate(fighters)
        for mutation, token, _ in fighter["applied"]
    )
    for fighter in fighters:
        assert len(fighter["applied"]) >= least
        assert fighter["locks"] >= 2
    mutations, tokens, owners = zip(*applied, strict=True)
    assert mutations == tuple(range(mutations[0], mutations[0] + len(applied)))  # each once
    assert tokens == tuple(sorted(tokens))  # nothing of an older lease after a newer one
    assert len(set(zip(tokens, owners, strict=True))) == len(set(tokens))  # a lease has one owner
    assert len(set(tokens)) > 2
    assert pulses == sum(n for fighter in fighters for *_, n in fighter["applied"])
    for who, fighter in enumerate(fighters):
        rival = f"process {fighters[1 - who]['pid']} on "
        beaten = [text for _, text in fighter["refused"] if rival in text]
        others = [text for _, text in fighter["refused"] if rival not in text]
        assert beaten
        assert all("nobody owns" in text for text in others)
