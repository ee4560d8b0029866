"""Named random streams from one seed: one more read never makes another chip. No global state."""

from __future__ import annotations

import hashlib

import torch

from sim_backend.deviates import DeviceNormal, HostNormal, NormalSource

__all__ = ["Streams"]


class Streams:
    """Independent generators by name, for one core of one chip.

    A stream's seed is the hash of (chip seed, core, name), so drawing from one stream, or adding a
    stream, changes no other.
    """

    def __init__(self, seed: int, core: int, device: torch.device) -> None:
        self._seed = seed
        self._core = core
        self._device = device
        self._made: dict[str, torch.Generator] = {}
        self._normal: dict[str, NormalSource] = {}

    def on_cpu(self, name: str) -> torch.Generator:
        """Return a fresh CPU generator at the start of stream `name`.

        Fabrication uses it, so that a chip is the same chip whatever it is computed on.
        """
        return torch.Generator().manual_seed(self._seed_of(name))

    def __getitem__(self, name: str) -> torch.Generator:
        """Return the running generator of stream `name` on the compute device."""
        if name not in self._made:
            self._made[name] = torch.Generator(self._device).manual_seed(self._seed_of(name))
        return self._made[name]

    def normal(self, name: str) -> NormalSource:
        """Return the running source of normal deviates `name`; no stream shares its draws."""
        if name not in self._normal:
            on_host = self._device.type == "cpu"
            self._normal[name] = (
                HostNormal(self._seed_of(name)) if on_host else DeviceNormal(self[name])
            )
        return self._normal[name]

    def _seed_of(self, name: str) -> int:
        text = f"{self._seed}/{self._core}/{name}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
