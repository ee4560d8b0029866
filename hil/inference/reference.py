"""The quantised reference: the same plan with exact integer products in torch. No chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from hil.errors import RequestError
from hil.inference.layer_serial import (
    Multiplier,
    OnLayer,
    Products,
    RunResult,
    Stage,
    run_layer_serial,
)
from hil.inference.plan import AnalogLayer, NetworkPlan

__all__ = ["QuantisedReference"]

Codes = npt.NDArray[np.integer[Any]]


class QuantisedReference:
    """What a network computes if every product of its codes is exact.

    On an ideal chip the result of `Deployment.run` equals it to the last bit.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        if plan.settings.weight_levels is None:
            raise RequestError(
                "weights are not rounded (weight_levels is None), so there is no integer "
                "reference; plan with weight_levels=127"
            )
        self._plan = plan
        self._multiplier = _ExactProducts()

    def run(self, images: Tensor, *, on_layer: OnLayer | None = None) -> Tensor:
        """Return the network's outputs for images (batch, *input_shape)."""
        return self.run_full(images, on_layer=on_layer).outputs

    def run_full(
        self, images: Tensor, *, norm_images: int = 0, on_layer: OnLayer | None = None
    ) -> RunResult:
        """Return outputs and what each layer did; `norm_images` as in `run_layer_serial`."""
        return run_layer_serial(
            self._plan, images, self._multiplier, norm_images=norm_images, on_layer=on_layer
        )


class _ExactProducts(Multiplier):
    """Integer products in float64, exact below 2^53."""

    max_batch = 4096

    @override
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        weights = torch.from_numpy(layer.weight_codes)

        def multiply(codes: Codes) -> Products:
            return Products(units=(torch.from_numpy(codes).to(torch.float64) @ weights).numpy())

        yield multiply

    @override
    def now_s(self) -> float:
        return 0.0
