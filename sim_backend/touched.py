"""State of those devices that were ever pulsed, as a snapshot: the others are as fabricated."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Bool, Int
from torch import Tensor

from sim_backend.snapshot import Snapshot

__all__ = ["restore_touched", "snapshot_of_touched"]


def snapshot_of_touched(
    changing: Mapping[str, Tensor], pulses: Int[Tensor, "devices rows cols"], youngest_s: float
) -> Snapshot:
    """Return the state of every device with a pulse, (n,) each, and when the last pulse was, s."""
    touched = pulses > 0
    parts = {name: part[touched] for name, part in changing.items()}
    return Snapshot(values={"youngest_s": youngest_s}, tensors={"touched": touched, **parts})


def restore_touched(
    kept: Snapshot, changing: Mapping[str, Tensor], like: Bool[Tensor, "devices rows cols"]
) -> tuple[Bool[Tensor, "devices rows cols"], float]:
    """Write a snapshot into the tensors that pulses change: which devices, and the last pulse, s.

    Nothing is written unless all of it fits.

    Raises:
        RecordError: It is the state of another kind of array.
    """
    touched = kept.tensor("touched", like)
    parts = {name: kept.tensor(name, part[touched]) for name, part in changing.items()}
    youngest_s = kept.number("youngest_s")
    for name, part in changing.items():
        part[touched] = parts[name]
    return touched, youngest_s
