"""The state of a simulated chip as a file: what silicon keeps by itself. Knows no physics.

Fabrication is not in it: it comes from the seed. A file is read and never written back; a chip that
is to outlive its process again is preserved again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hil.errors import RecordError, RequestError
from hil.tensor_file import read_sealed, write_sealed
from sim_backend.fidelity import Fidelity
from sim_backend.snapshot import Scalar, Snapshot

__all__ = ["STATE_FILE", "ChipState", "Making", "load_state", "save_state"]

STATE_FILE = "chip-state.safetensors"
HEADER_KEY = "aimc-hil chip state"
BYTES_PER_DEVICE = 64
"""More than the state of one device takes."""
BYTES_BESIDE = 1 << 22
"""More than header, streams and settings of a core take."""
NEXT_STEP = "preserve the chip again, or open it without state to program it anew"


class Making(BaseModel):
    """What a chip is made of: its state fits no chip that differs in any of it.

    Attributes:
        preset, serial, seed, cores, rows, cols, devices_per_polarity, compute, fidelity: As in its
            address.
        circuit: Options of its tile circuit, if it has one.
        effects_off: Effects that it does not have.
        parameters: Digest of every coefficient of its physics.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    serial: str
    seed: int
    cores: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1)]
    cols: Annotated[int, Field(ge=1)]
    devices_per_polarity: Annotated[int, Field(ge=1)]
    compute: str
    fidelity: Fidelity = Fidelity.PULSE  # what every chip was, before there was a choice
    circuit: tuple[str, ...] = ()
    effects_off: tuple[str, ...]
    parameters: str

    @staticmethod
    def digest(parameters: object) -> str:
        """Digest of nested frozen dataclasses of numbers."""
        return hashlib.sha256(repr(parameters).encode()).hexdigest()[:16]

    @property
    def most_bytes(self) -> int:
        """A file with the state of such a chip is not larger."""
        devices = 2 * self.devices_per_polarity * self.rows * self.cols
        return self.cores * (devices * BYTES_PER_DEVICE + BYTES_BESIDE)


class ChipState(BaseModel):
    """Header of a state file; tensors of core k stand under "k/".

    Attributes:
        made: The chip it belongs to.
        clock_s: Device time, s.
        cores: Numbers of each core, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    made: Making
    clock_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    cores: tuple[dict[str, Scalar], ...]


def save_state(folder: Path, made: Making, clock_s: float, cores: list[Snapshot]) -> Path:
    """Write the state of a chip to a file in `folder`; it appears whole or not at all.

    Raises:
        RequestError: It cannot be written there.
    """
    path = folder / STATE_FILE
    tensors: dict[str, Tensor] = {}
    for index, core in enumerate(cores):
        tensors |= {f"{index}/{name}": tensor for name, tensor in core.tensors.items()}
    document = ChipState(made=made, clock_s=clock_s, cores=tuple(dict(c.values) for c in cores))
    write_sealed(path, tensors, key=HEADER_KEY, document=document)
    return path


def load_state(path: Path, made: Making) -> tuple[float, list[Snapshot]]:
    """Read the state of the chip made like this: device time, s, and a snapshot per core.

    Raises:
        RequestError: It is the state of another chip.
        RecordError: There is none, or it is damaged, too large or of another version.
    """
    tensors, document = read_sealed(
        path,
        ChipState,
        key=HEADER_KEY,
        what="a chip state",
        next_step=NEXT_STEP,
        most_bytes=made.most_bytes,
    )
    wanted = made.model_dump(mode="json")
    for name, value in document.made.model_dump(mode="json").items():
        if value != wanted[name]:
            raise RequestError(
                f"{path} is the state of a chip with {name} {value!r}, the address has "
                f"{wanted[name]!r}; open it under the address it was preserved from",
                name=name,
                value=value,
                wanted=wanted[name],
            )
    if len(document.cores) != made.cores:
        raise RecordError(f"{path} holds {len(document.cores)} of {made.cores} cores; {NEXT_STEP}")
    return document.clock_s, [
        Snapshot(values=values, tensors=Snapshot(tensors=tensors).part(str(index)).tensors)
        for index, values in enumerate(document.cores)
    ]
