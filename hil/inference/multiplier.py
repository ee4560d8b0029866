"""What multiplies: the seam between the layer-serial loop and a chip, or the exact reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hil.inference.plan import AnalogLayer

__all__ = ["Multiplier", "Products", "Stage"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Sums of products of a batch, in units of weight code times input code, (n, cols).

    Attributes:
        units: The sums.
        mvms: Vectors multiplied, all blocks together.
        saturated, converted: Converter outputs that were clipped, and all.
    """

    units: Array
    mvms: int = 0
    saturated: int = 0
    converted: int = 0


Stage = Callable[[Codes], Products]


class Multiplier(ABC):
    """What makes the products of a layer."""

    max_batch: int
    """Most vectors to hand over at once."""

    @abstractmethod
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        """Make the layer ready, part by part; the sums of all parts are the layer's products."""

    def stages_of(self, layer: AnalogLayer) -> int:
        """Return how many parts `stages` gives; with several, the host holds sums between them."""
        return 1

    @abstractmethod
    def now_s(self) -> float:
        """Device time, s."""
