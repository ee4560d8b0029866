"""Weights onto cores: encoding, tiling, placement. Arithmetic only; no I/O, no core is touched."""

from hil.mapping.encoding import EncodedWeights, Scaling, check_weights, encode_weights
from hil.mapping.placement import (
    CoreSize,
    PlacedBlock,
    Placement,
    place_blocks,
    place_in_rounds,
)
from hil.mapping.tiling import Block, balanced_lengths, tile_matrix

__all__ = [
    "Block",
    "CoreSize",
    "EncodedWeights",
    "PlacedBlock",
    "Placement",
    "Scaling",
    "balanced_lengths",
    "check_weights",
    "encode_weights",
    "place_blocks",
    "place_in_rounds",
    "tile_matrix",
]
