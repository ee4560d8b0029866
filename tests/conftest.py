"""Rules for every test: no global random state, one thread, same examples, opt-in boards."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is first imported

DATA = Path(os.environ.get("HIL_DATA") or Path(__file__).parents[2] / "shared" / "data")

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    no_data = pytest.mark.skip(reason=f"needs HIL_DATA, the folder with the data sets; no {DATA}")
    for item in items:
        if item.get_closest_marker("data") and not DATA.is_dir():
            item.add_marker(no_data)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder named by HIL_DATA, or beside the project; for tests marked `data`."""
    return DATA


@pytest.fixture(autouse=True)
def chip_records_of_this_test_alone(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chip records (wear, log, lock) go to a folder of the test's own; nothing makes it early."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    monkeypatch.setenv("HIL_STATE", str(tmp_path_factory.getbasetemp() / "hil-state" / name))


@pytest.fixture(autouse=True)
def global_state_is_untouched() -> Iterator[None]:
    """Fail a test that draws from or seeds a global generator; run torch on one thread."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch_before = torch.get_rng_state()
    numpy_before = np.random.get_state()  # noqa: NPY002 - it is what must not be used
    yield
    numpy_after = np.random.get_state()  # noqa: NPY002
    same = all(np.array_equal(a, b) for a, b in zip(numpy_before, numpy_after, strict=True))
    assert same, "the test used numpy's global random generator"
    if torch is not None:
        same = torch.equal(torch.get_rng_state(), torch_before)
        assert same, "the test used torch's global random generator"
