"""What the statistical tests share: the fit's own measurement, and chips without an address."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sim_backend.params import DeviceParams
from sim_backend.pcm import Effects, PcmArray
from sim_backend.streams import Streams

TOOL = Path(__file__).parents[2] / "tools" / "fit_relaxation.py"
CPU = torch.device("cpu")

MakeDevices = Callable[..., PcmArray]


@pytest.fixture(scope="session")
def relaxation_fit() -> ModuleType:
    """`tools/fit_relaxation.py`: the test measures what the fit has measured."""
    spec = importlib.util.spec_from_file_location("fit_relaxation", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_devices() -> MakeDevices:
    """Bare devices of one type, (1, rows, cols), without converters and wires."""

    def make(
        params: DeviceParams,
        shape: tuple[int, int, int],
        seed: int,
        effects: Effects,
        device: torch.device = CPU,
    ) -> PcmArray:
        return PcmArray(params, shape, Streams(seed, 0, device), device, effects)

    return make
