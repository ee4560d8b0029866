"""Blocks of a crossbar, many at once, joined at a face: Redheffer's star product. Knows no plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sim_backend.circuit.nodal_plan import Join, Side

__all__ = ["ALL_SIDES", "Crossing", "crossing", "join"]

ALL_SIDES = tuple(Side)
_FEW_LINES = 2
"""Up to this many shared lines a product is a sum of outer ones: faster than small matrices."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What crosses the face of two joined blocks, per input of the joined block.

    Attributes:
        from_a, from_b: Outputs of a at the face, which are inputs of b there; and of b.
    """

    from_a: Float[Tensor, "blocks shared inputs"]
    from_b: Float[Tensor, "blocks shared inputs"]


def crossing(
    a: Float[Tensor, "blocks a_ports a_ports"],
    b: Float[Tensor, "blocks b_ports b_ports"],
    how: Join,
    inputs: Iterable[Side] = ALL_SIDES,
) -> Crossing:
    """Return what crosses the face, for those inputs of the joined block that are wanted.

    What is solved is 1 + (admittance into one block) x (impedance out of the other). Both are
    positive semidefinite, so no eigenvalue is below 1, for ideal wires and open devices too.
    """
    a_face, b_face = how.a.of(how.face.value[0]), how.b.of(how.face.value[1])
    from_own, echo = a[:, a_face], _product(a[:, a_face, a_face], b[:, b_face])
    driven = torch.cat(
        [
            from_own[:, :, how.a.of(side)] if is_a else echo[:, :, how.b.of(side)]
            for side in inputs
            for is_a in how.a_pieces(side)
        ],
        2,
    )
    loop = torch.eye(echo.shape[1], dtype=a.dtype, device=a.device) - echo[:, :, b_face]
    from_a = driven / loop if echo.shape[1] == 1 else torch.linalg.solve(loop, driven)
    from_b = _spaced(b[:, b_face], how, inputs, of_a=False)
    _add_product(from_b, b[:, b_face, b_face], from_a)
    return Crossing(from_a=from_a, from_b=from_b)


def join(
    a: Float[Tensor, "blocks a_ports a_ports"],
    b: Float[Tensor, "blocks b_ports b_ports"],
    how: Join,
    inputs: Iterable[Side] = ALL_SIDES,
    outputs: Iterable[Side] = ALL_SIDES,
) -> tuple[Float[Tensor, "blocks outputs inputs"], Crossing]:
    """Return the joined blocks, at the wanted inputs and outputs, and what crosses the face."""
    met = crossing(a, b, how, inputs)
    a_face, b_face = how.a.of(how.face.value[0]), how.b.of(how.face.value[1])
    rows = []
    for side in outputs:
        for is_a in how.a_pieces(side):
            block, out = (a, how.a.of(side)) if is_a else (b, how.b.of(side))
            row = _spaced(block[:, out], how, inputs, of_a=is_a)
            _add_product(
                row, block[:, out, a_face if is_a else b_face], met.from_b if is_a else met.from_a
            )
            rows.append(row)
    return torch.cat(rows, 1), met


def _spaced(
    own: Float[Tensor, "blocks outs ports"], how: Join, inputs: Iterable[Side], *, of_a: bool
) -> Float[Tensor, "blocks outs inputs"]:
    """Return outputs of one block over the inputs of the joined one: zero for the other's."""
    pieces = []
    for side in inputs:
        for is_a in how.a_pieces(side):
            if is_a == of_a:
                pieces.append(own[:, :, (how.a if is_a else how.b).of(side)])
            else:
                other = how.a if is_a else how.b
                width = other.lines if side < Side.TOP else other.cols
                pieces.append(own.new_zeros(1, 1, 1).expand(*own.shape[:2], width))
    return torch.cat(pieces, 2)


def _add_product(
    total: Float[Tensor, "blocks n m"],
    a: Float[Tensor, "blocks n k"],
    b: Float[Tensor, "blocks k m"],
) -> None:
    """Add a @ b to total, which is the caller's own."""
    if a.shape[2] > _FEW_LINES:
        total.baddbmm_(a, b)
        return
    for line in range(a.shape[2]):
        total.addcmul_(a[:, :, line : line + 1], b[:, line : line + 1])


def _product(
    a: Float[Tensor, "blocks n k"], b: Float[Tensor, "blocks k m"]
) -> Float[Tensor, "blocks n m"]:
    if a.shape[2] > _FEW_LINES:
        return a @ b
    total = a[:, :, :1] * b[:, :1]
    for line in range(1, a.shape[2]):
        total.addcmul_(a[:, :, line : line + 1], b[:, line : line + 1])
    return total
