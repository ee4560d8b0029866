"""The static net of a crossbar, solved exactly: conductances in, effective matrix out.

For fixed conductances the net is linear, so one matrix, found once, serves every input: a batch is
one product. Word-line and bit-line resistance, driver and converter resistance; one word line per
row, or one per device polarity. Float64, on the device of the conductances.

The net is joined from cells by nested dissection (`nodal_plan`) of hybrid multiports
(`nodal_cells`): O(n^3) operations and O(n^2) memory for n x n cells, exact for ideal wires.
Left out: capacitance (a net at rest), non-linear devices.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from hil.errors import RequestError
from sim_backend.circuit.nodal_dissection import Dissection
from sim_backend.circuit.nodal_wires import NetWires

__all__ = ["EffectiveNet", "NetCache", "NetState", "effective_net", "net_state"]

_SPREAD_VALUES = 32 << 20
"""Port values held at a time where every node is wanted: 256 MiB of float64."""


@dataclass(frozen=True, kw_only=True)
class EffectiveNet:
    """A crossbar seen from its drivers and converters.

    Attributes:
        siemens: Current into the converter of a col per volt at the driver of a word line, all
            other drivers and all read nodes at 0 V; S.
    """

    siemens: Float[Tensor, "lines rows cols"]

    @property
    def differential_siemens(self) -> Float[Tensor, "rows cols"]:
        """Matrix for rows whose two word lines are driven by +v and -v about the read node, S.

        Raises:
            RequestError: The rows do not have two word lines each.
        """
        if self.siemens.shape[0] != 2:
            raise RequestError(
                f"{self.siemens.shape[0]} word line(s) per row are no pair; solve the net with "
                "conductances of shape (2, rows, cols)"
            )
        return self.siemens[0] - self.siemens[1]

    def currents(
        self, drive_volt: Float[Tensor, "batch lines rows"], read_volt: float = 0.0
    ) -> Float[Tensor, "batch cols"]:
        """Return the current into every converter, A.

        Args:
            drive_volt: Voltage of every driver, V.
            read_volt: Voltage of all read nodes, V. Only differences from it count.
        """
        driven = (drive_volt - read_volt).to(self.siemens.dtype)
        return driven.flatten(1) @ self.siemens.flatten(0, 1)


@dataclass(frozen=True, kw_only=True)
class NetState:
    """Every node of a net at rest, per input vector.

    Attributes:
        word_volt: Word-line node of every device, V.
        bit_volt: Bit-line node of every cell, V.
        device_ampere: Current through every device, from word line to bit line, A.
    """

    word_volt: Float[Tensor, "batch lines rows cols"]
    bit_volt: Float[Tensor, "batch rows cols"]
    device_ampere: Float[Tensor, "batch lines rows cols"]

    @property
    def output_ampere(self) -> Float[Tensor, "batch cols"]:
        """Current into every converter, A: what all devices of the col give."""
        return self.device_ampere.sum((1, 2))


def effective_net(
    device_siemens: Float[Tensor, "rows cols"] | Float[Tensor, "lines rows cols"], wires: NetWires
) -> EffectiveNet:
    """Solve the net once, for all inputs. Differentiable once with respect to the conductances.

    Args:
        device_siemens: Conductance of every device, 0 (open) or more, S. With a leading axis, a
            row has that many word lines, which share the bit lines: of a differential pair g+, g-.
        wires: Resistances and read ends.

    Raises:
        RequestError: A conductance is negative or not finite, or there is none.
    """
    found = _Effective.apply(_checked(device_siemens), wires)  # type: ignore[no-untyped-call]
    return EffectiveNet(siemens=cast("Tensor", found))


def net_state(
    device_siemens: Float[Tensor, "rows cols"] | Float[Tensor, "lines rows cols"],
    wires: NetWires,
    drive_volt: Float[Tensor, "batch driven_lines driven_rows"],
    read_volt: Float[Tensor, "read_batch read_cols"] | float = 0.0,
) -> NetState:
    """Return all node voltages and device currents; O(n^3 + batch n^2 log n).

    Args:
        device_siemens, wires: As for `effective_net`.
        drive_volt: Voltage of every driver, (batch, lines, rows), V.
        read_volt: Voltage of every read node, (batch, cols), or of all of them, V.

    Raises:
        RequestError: As for `effective_net`, or a voltage does not fit the net.
    """
    lines = _checked(device_siemens).detach()
    count, rows, cols = lines.shape
    if drive_volt.shape[1:] != (count, rows):
        raise RequestError(
            f"drive_volt of shape {tuple(drive_volt.shape)} fits no net of {count} word line(s) "
            f"in each of {rows} rows; give (batch, {count}, {rows})"
        )
    read = torch.as_tensor(read_volt, dtype=lines.dtype, device=lines.device)
    if read.ndim and read.shape != (drive_volt.shape[0], cols):
        raise RequestError(
            f"read_volt of shape {tuple(read.shape)} is neither a voltage nor "
            f"({drive_volt.shape[0]}, {cols})"
        )
    net = Dissection.of(lines, wires, _unit(lines)).opened()
    drive = drive_volt.to(lines.dtype).movedim(0, -1)
    read = read.expand(drive_volt.shape[0], cols).mT
    found = [net.spread(drive[..., part], read[:, part]) for part in _chunks(net, read.shape[1])]
    word, bit = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
    current = lines[..., None] * (word - bit)
    return NetState(
        word_volt=word.movedim(-1, 0),
        bit_volt=bit.movedim(-1, 0),
        device_ampere=current.movedim(-1, 0),
    )


class NetCache:
    """The effective net of the last conductances, solved anew only when they change.

    A tensor is known by identity and by its count of in-place changes; a change that passes torch
    by (through memory shared with numpy) is not seen, so give new conductances then.
    """

    def __init__(self) -> None:
        self._known: tuple[weakref.ref[Tensor], int, NetWires] | None = None
        self._net: EffectiveNet | None = None

    def of(
        self,
        device_siemens: Float[Tensor, "rows cols"] | Float[Tensor, "lines rows cols"],
        wires: NetWires,
    ) -> EffectiveNet:
        """Return `effective_net` of these conductances; kept, unless gradients are recorded."""
        recorded = torch.is_grad_enabled() and device_siemens.requires_grad
        if recorded or device_siemens.is_inference():  # a used graph is gone; no count of changes
            return effective_net(device_siemens, wires)
        if self._net is None or not self._holds(device_siemens, wires):
            self._net = effective_net(device_siemens, wires)
            known = weakref.ref(device_siemens)
            self._known = (known, device_siemens._version, wires)  # noqa: SLF001 - torch's own count
        return self._net

    def _holds(self, device_siemens: Tensor, wires: NetWires) -> bool:
        if self._known is None:
            return False
        known, version, of_wires = self._known
        return (
            known() is device_siemens
            and version == device_siemens._version  # noqa: SLF001 - torch's own count
            and of_wires == wires
        )


class _Effective(torch.autograd.Function):
    """The effective matrix, with its gradient by the adjoint net.

    dI/dg of a device is its voltage drop under the drive times its drop in the adjoint net, whose
    drivers are at 0 V and whose read node is at -1 V: the net is reciprocal.
    """

    @staticmethod
    @override
    def forward(ctx: Any, lines: Tensor, wires: NetWires) -> Tensor:
        ctx.save_for_backward(lines)
        ctx.wires = wires
        unit = _unit(lines)
        return (Dissection.of(lines, wires, unit).transfer() * unit).contiguous()

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (lines,) = ctx.saved_tensors
        count, rows, cols = lines.shape
        net = Dissection.of(lines, ctx.wires, _unit(lines)).opened()
        if count * rows <= cols:  # one pair of solutions per word line, or per col
            one = torch.eye(count * rows, dtype=lines.dtype, device=lines.device)
            drive, read = one.reshape(count, rows, count * rows), upstream.flatten(0, 1).mT
        else:
            drive, read = upstream, torch.eye(cols, dtype=lines.dtype, device=lines.device)
        gradient = torch.zeros_like(lines)
        for part in _chunks(net, read.shape[1]):
            driven = _drops(net, drive[..., part], torch.zeros_like(read[:, part]))
            adjoint = _drops(net, torch.zeros_like(drive[..., part]), read[:, part])
            gradient -= (driven * adjoint).sum(-1)
        return gradient, None


def _drops(
    net: Dissection,
    drive_volt: Float[Tensor, "lines rows batch"],
    read_volt: Float[Tensor, "cols batch"],
) -> Float[Tensor, "lines rows cols batch"]:
    word, bit = net.spread(drive_volt, read_volt)
    return word - bit


def _chunks(net: Dissection, batch: int) -> list[slice]:
    size = max(1, _SPREAD_VALUES // net.cells[..., 0].numel())
    return [slice(first, first + size) for first in range(0, batch, size)]


def _unit(lines: Tensor) -> float:
    """Return a power of two near the largest conductance, S: currents and volts alike in size."""
    most = float(lines.max())
    return 2.0 ** round(math.log2(most)) if most > 0.0 else 1.0


def _checked(device_siemens: Tensor) -> Float[Tensor, "lines rows cols"]:
    if device_siemens.ndim not in (2, 3) or device_siemens.numel() == 0:
        raise RequestError(
            f"conductances of shape {tuple(device_siemens.shape)} are no net; give (rows, cols) or "
            "(lines, rows, cols), none of them 0"
        )
    values = device_siemens.detach()
    if not bool(torch.isfinite(values).all()) or bool((values < 0.0).any()):
        raise RequestError(
            f"conductances of {float(values.min())} ... {float(values.max())} S are outside "
            "0 ... (finite); an open device has 0"
        )
    lines = device_siemens.to(torch.float64)
    return lines if lines.ndim == 3 else lines[None]
