"""Time of single modules within runs of a torch network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from torch import Tensor, nn

__all__ = ["module_seconds"]


def module_seconds(
    network: nn.Module, names: Sequence[str], inputs: Tensor, repeats: int
) -> dict[str, float]:
    """Run a network; return the median time of each named module, all its calls together, s."""
    watches = {name: _Watch(network.get_submodule(name)) for name in names}
    try:
        for _ in range(repeats):
            network(inputs)
            for watch in watches.values():
                watch.lap()
    finally:
        for watch in watches.values():
            watch.remove()
    return {name: median(watch.laps) for name, watch in watches.items()}


class _Watch:
    """A stop-watch on the calls of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.laps: list[float] = []
        self._running = self._began = 0.0
        self._hooks = (
            module.register_forward_pre_hook(self._start),
            module.register_forward_hook(self._stop),
        )

    def lap(self) -> None:
        """Keep the time since the last lap."""
        self.laps.append(self._running)
        self._running = 0.0

    def remove(self) -> None:
        """Let go of the module."""
        for hook in self._hooks:
            hook.remove()

    def _start(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _stop(self, *_: object) -> None:
        self._running += time.perf_counter() - self._began
