"""Runs the driver that kills, and gives what came of each run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DRIVER = Path(__file__).parent / "kill_driver.py"
TIMEOUT_S = 290.0
ROWS, COLS = 8, 6

Killing = Callable[[dict[str, dict[str, Any]]], dict[str, dict[str, Any]]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the full sweep to those who ask for it by its marker."""
    if "sweep" not in config.getoption("-m"):
        skip = pytest.mark.skip(reason="the full sweep; run it with -m sweep")
        for item in items:
            if item.get_closest_marker("sweep"):
                item.add_marker(skip)


def core_of(chip: str) -> str:
    """Address of a chip that lasts, in the folder of a run."""
    return f"kept:{chip}&rows={ROWS}&cols={COLS}&state=FOLDER/chip"


@pytest.fixture(scope="session")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Killing:
    """killing({name: plan}): a plan has kills, method and chip; see the driver for the rest."""

    def drive(plans: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("killed")
        weights = np.random.default_rng(4).standard_normal((ROWS, COLS))
        np.save(folder / "weights.npy", weights)
        program = ["program", str(folder / "weights.npy"), "--method"]
        full = {
            name: {
                "command": [*program, plan["method"], "--core", core_of(plan["chip"])],
                "resume": ["--core", core_of(plan["later"])] if "later" in plan else [],
                **plan,
            }
            for name, plan in plans.items()
        }
        (folder / "plans.json").write_text(json.dumps(full))
        done = subprocess.run(
            (sys.executable, str(DRIVER), str(folder / "plans.json")),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, dict[str, Any]] = json.loads(done.stdout)
        return found

    return drive
