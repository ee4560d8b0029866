"""Named random streams from one seed: one more read never makes another chip. No global state."""

from __future__ import annotations

import hashlib

import torch

from hil.errors import RecordError
from sim_backend.deviates import DeviceNormal, HostNormal, NormalSource
from sim_backend.snapshot import Snapshot

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
        return torch.Generator().manual_seed(self.key(name))

    def __getitem__(self, name: str) -> torch.Generator:
        """Return the running generator of stream `name` on the compute device."""
        if name not in self._made:
            self._made[name] = torch.Generator(self._device).manual_seed(self.key(name))
        return self._made[name]

    def normal(self, name: str) -> NormalSource:
        """Return the running source of normal deviates `name`; no stream shares its draws."""
        if name not in self._normal:
            on_host = self._device.type == "cpu"
            self._normal[name] = HostNormal(self.key(name)) if on_host else DeviceNormal(self[name])
        return self._normal[name]

    def snapshot(self) -> Snapshot:
        """Where every running stream stands; one that was never drawn from is not in it."""
        made = {f"generator.{name}": stream.get_state() for name, stream in self._made.items()}
        normal = {f"normal.{name}": source.state() for name, source in self._normal.items()}
        return Snapshot(tensors={**made, **normal})

    def restore(self, kept: Snapshot) -> None:
        """Let every stream go on from where it stood.

        Raises:
            RecordError: A state is none of such a generator.
        """
        for key, state in kept.tensors.items():
            kind, _, name = key.partition(".")
            try:
                if kind == "generator":
                    self[name].set_state(state)
                else:
                    self.normal(name).restore(state)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise RecordError(
                    f"{key!r} of a chip state is no state of this generator ({error}); preserve "
                    "the chip again",
                    name=key,
                ) from error

    def key(self, name: str) -> int:
        """Return the seed of stream `name`, 63 bits: for what is hashed instead of drawn."""
        text = f"{self._seed}/{self._core}/{name}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
