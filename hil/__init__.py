"""aimc-hil: one control stack for analog in-memory computing chips, real and simulated."""

from hil.backends import open_chip
from hil.core import (
    CellRead,
    Chip,
    Core,
    CoreSettings,
    MvmRequest,
    MvmResult,
    Outcome,
    Pulse,
    ReadResult,
    Window,
)
from hil.errors import (
    CoreTimeoutError,
    CoreUnavailableError,
    DeviceFaultError,
    HilError,
    RecordError,
    RequestError,
)
from hil.info import BackendKind, Capability, ChipInfo, CoreInfo, Direction, MvmMode, PulseFamily
from hil.matrix import ProgrammedMatrix, ProgrammingReport, program_matrix

__all__ = [
    "BackendKind",
    "Capability",
    "CellRead",
    "Chip",
    "ChipInfo",
    "Core",
    "CoreInfo",
    "CoreSettings",
    "CoreTimeoutError",
    "CoreUnavailableError",
    "DeviceFaultError",
    "Direction",
    "HilError",
    "MvmMode",
    "MvmRequest",
    "MvmResult",
    "Outcome",
    "ProgrammedMatrix",
    "ProgrammingReport",
    "Pulse",
    "PulseFamily",
    "ReadResult",
    "RecordError",
    "RequestError",
    "Window",
    "open_chip",
    "program_matrix",
]
