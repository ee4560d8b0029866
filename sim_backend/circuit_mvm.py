"""An MVM of a core through its tile circuit: windows, converters and streams around the readout.

Keeps what is prepared for as long as the devices show the same. Knows no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from hil.core import Window
from hil.info import MvmMode
from sim_backend.circuit.readout import Adc, Draws, TileDevices, TileReadout

if TYPE_CHECKING:
    from hil.core import MvmRequest
    from hil.info import CoreInfo
    from sim_backend.circuit.readout import CircuitReadout
    from sim_backend.converters import OutputConverter
    from sim_backend.streams import Streams

__all__ = ["CircuitMvm"]


class CircuitMvm:
    """Forward MVMs of one core.

    Args:
        readout: Circuit, solver and input mode.
        info: What the core says of itself.
        cols: Converters of the cols.
        streams: Named random streams.
    """

    def __init__(
        self, readout: CircuitReadout, info: CoreInfo, cols: OutputConverter, streams: Streams
    ) -> None:
        self._readout = readout
        self._info = info
        self._cols = cols
        self._streams = streams
        self._tile: tuple[Tensor, TileReadout] | None = None

    def codes(
        self,
        request: MvmRequest,
        x: Float[Tensor, "n n_in"],
        output_range: int,
        shown: Float[Tensor, "polarities rows cols"],
        variance: Float[Tensor, "polarities rows cols"],
    ) -> Float[Tensor, "n n_out"]:
        """Return whole output codes, not clipped; rows outside the window are idle.

        Args:
            request: What is asked for.
            x: Its input codes.
            output_range: Index of the range in force.
            shown: Conductance of the devices of either polarity, with the noise that they keep,
                relative to g_max of one; the same tensor for as long as it is the same.
            variance: Of what they show anew at every MVM, likewise.
        """
        if self._tile is None or self._tile[0] is not shown:
            self._tile = (shown, self._prepared(shown, variance))
        info = self._info
        w = request.window or Window(row=0, col=0, rows=info.rows, cols=info.cols)
        cols = slice(w.col, w.col + w.cols)
        codes = torch.nn.functional.pad(x, (w.row, info.rows - w.row - w.rows))
        adc = Adc(
            gain=self._cols.gain[cols],
            offset_counts=self._cols.offset_codes[cols],
            noise_variance=self._cols.noise_variance,
            count_coulomb=self._readout.count_coulomb(info.output_step_siemens(output_range)),
        )
        draws = Draws(
            conversion=self._streams.normal("mvm"), shared=self._streams.normal("mvm_shared")
        )
        tile = self._tile[1]
        read = tile.four_phase if request.mode is MvmMode.FOUR_PHASE else tile.one_phase
        return read(codes, cols, adc, draws)

    def _prepared(self, shown: Tensor, variance: Tensor) -> TileReadout:
        unit = self._info.device.device_g_max_siemens
        plus, minus = shown * unit
        plus_variance, minus_variance = variance * unit**2
        return self._readout.prepare(
            TileDevices(
                plus_siemens=plus,
                minus_siemens=minus,
                plus_variance=plus_variance,
                minus_variance=minus_variance,
            )
        )
