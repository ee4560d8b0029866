"""Core commands of the instrument: drivers, temperature, output range, trim registers.

`CORE1:` is core 0 of the data plane; without the node a command is for core 0, OUTPut for all.
Cols count from 0, as on the data plane.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drivers.instrument_bench import Bench, Call, Entry, answer
from hil.core import CoreSettings
from hil.info import Capability, CoreInfo
from hil.units import CodeScale
from protocols.wire import messages as wire
from protocols.wire.scpi import MAX_PARAMETERS
from protocols.wire.scpi_arguments import KELVIN
from protocols.wire.scpi_data import Word
from protocols.wire.scpi_errors import ScpiError

__all__ = ["CORE_COMMANDS"]

_GAIN, _OFFSET = "gain_trim", "offset_trim"
_REGISTER_BYTES = np.dtype("<i2")
_COLDEST_KELVIN, _HOTTEST_KELVIN = 1.0, 1000.0  # the core knows its own, narrower band


def _safe(bench: Bench, call: Call) -> None:
    core = wire.ALL_CORES if call.core_number is None else bench.core(call)
    bench.ask(core, wire.SafeStateRequest(), wire.SafeStateReply)


def _output_state(bench: Bench, call: Call) -> bytes:
    replies = [
        bench.ask(core, wire.StatusRequest(), wire.StatusReply) for core in bench.cores(call)
    ]
    return answer(not all(reply.safe for reply in replies))


def _temperature(bench: Bench, call: Call) -> bytes:
    reply = bench.ask(bench.core(call), wire.TemperatureRequest(), wire.TemperatureReply)
    return answer(reply.temperature_kelvin)


def _set_range(bench: Bench, call: Call) -> None:
    core = bench.core(call)
    last = len(bench.info.cores[core].output_ranges_siemens) - 1
    index = call.arguments.integer("output range", 0, last)
    bench.configure(core, CoreSettings(output_range=index))


def _range(bench: Bench, call: Call) -> bytes:
    core = bench.core(call)
    if call.arguments.next_is(Word):
        last = len(bench.info.cores[core].output_ranges_siemens) - 1
        return answer(call.arguments.integer("output range", 0, last))
    index = bench.settings(core).output_range
    if index is None:
        raise ScpiError(-241, f"core {core} has no output range")
    return answer(index)


def _ranges(bench: Bench, call: Call) -> bytes:
    return answer(*bench.info.cores[bench.core(call)].output_ranges_siemens)


def _set_temperature(bench: Bench, call: Call) -> None:
    core = bench.core(call)
    _require_temperature_control(bench.info.cores[core])
    kelvin = call.arguments.real("temperature", _COLDEST_KELVIN, _HOTTEST_KELVIN, KELVIN)
    bench.configure(core, CoreSettings(temperature_kelvin=kelvin))


def _set_point(bench: Bench, call: Call) -> bytes:
    core = bench.core(call)
    kelvin = bench.settings(core).temperature_kelvin
    if kelvin is None:
        raise ScpiError(-241, f"core {core} has no temperature control")
    return answer(kelvin)


def _require_temperature_control(info: CoreInfo) -> None:
    if Capability.TEMPERATURE_CONTROL not in info.capabilities:
        raise ScpiError(-241, f"core {info.core} has no temperature control")


def _scale(info: CoreInfo, register: str) -> CodeScale:
    scale = info.gain_trim if register == _GAIN else info.offset_trim
    if scale is None:
        raise ScpiError(-241, f"core {info.core} has no {register.replace('_', ' ')} register")
    return scale


def _codes(bench: Bench, core: int, register: str) -> npt.NDArray[np.integer]:
    _scale(bench.info.cores[core], register)
    settings = bench.settings(core)
    codes = settings.gain_trim if register == _GAIN else settings.offset_trim
    if codes is None:
        raise ScpiError(-240, f"core {core} did not tell its {register.replace('_', ' ')}")
    return codes


def _write_codes(bench: Bench, core: int, register: str, codes: npt.NDArray[np.integer]) -> None:
    settings = (
        CoreSettings(gain_trim=codes) if register == _GAIN else CoreSettings(offset_trim=codes)
    )
    bench.configure(core, settings)


def _register_commands(name: str, register: str) -> dict[str, Entry]:
    """Commands of one trim register: whole as numbers, whole as a block, one col."""

    def set_all(bench: Bench, call: Call) -> None:
        core = bench.core(call)
        info = bench.info.cores[core]
        scale = _scale(info, register)
        count = len(call.arguments)
        if count not in (1, info.cols):
            raise ScpiError(-109, f"{count} codes for {info.cols} cols; send one, or one for each")
        limits = (scale.min_code, scale.max_code)
        codes = [call.arguments.integer("trim code", *limits) for _ in range(count)]
        whole = np.broadcast_to(np.array(codes, scale.dtype), (info.cols,)).copy()
        _write_codes(bench, core, register, whole)

    def all_codes(bench: Bench, call: Call) -> bytes:
        return answer(*_codes(bench, bench.core(call), register).tolist())

    def set_one(bench: Bench, call: Call) -> None:
        core = bench.core(call)
        info = bench.info.cores[core]
        scale = _scale(info, register)
        col = call.arguments.integer("col", 0, info.cols - 1)
        code = call.arguments.integer("trim code", scale.min_code, scale.max_code)
        codes = _codes(bench, core, register).copy()
        codes[col] = code
        _write_codes(bench, core, register, codes)

    def one_code(bench: Bench, call: Call) -> bytes:
        core = bench.core(call)
        col = call.arguments.integer("col", 0, bench.info.cores[core].cols - 1)
        return answer(int(_codes(bench, core, register)[col]))

    def set_block(bench: Bench, call: Call) -> None:
        core = bench.core(call)
        info = bench.info.cores[core]
        scale = _scale(info, register)
        data = call.arguments.block()
        if len(data) != info.cols * _REGISTER_BYTES.itemsize:
            raise ScpiError(-220, f"{len(data)} bytes for {info.cols} cols of 2 bytes")
        codes = np.frombuffer(data, _REGISTER_BYTES)
        if codes.min() < scale.min_code or codes.max() > scale.max_code:
            raise ScpiError(
                -222,
                f"trim codes {codes.min()}...{codes.max()} leave "
                f"{scale.min_code}...{scale.max_code}",
            )
        _write_codes(bench, core, register, codes.astype(scale.dtype))

    def block(bench: Bench, call: Call) -> bytes:
        codes = _codes(bench, bench.core(call), register)
        return answer(codes.astype(_REGISTER_BYTES).tobytes())

    def limits(bench: Bench, call: Call) -> bytes:
        scale = _scale(bench.info.cores[bench.core(call)], register)
        return answer(scale.min_code, scale.max_code, scale.step)

    return {
        f"[CORE#:]CONFigure:{name}": Entry(set_all, most=MAX_PARAMETERS),
        f"[CORE#:]CONFigure:{name}?": Entry(all_codes),
        f"[CORE#:]CALibration:{name}": Entry(set_one, most=2),
        f"[CORE#:]CALibration:{name}?": Entry(one_code, most=1),
        f"[CORE#:]CALibration:{name}:DATA": Entry(set_block, most=1),
        f"[CORE#:]CALibration:{name}:DATA?": Entry(block),
        f"[CORE#:]CALibration:{name}:LIMits?": Entry(limits),
    }


CORE_COMMANDS: dict[str, Entry] = {
    "[CORE#:]OUTPut:SAFE": Entry(_safe),
    "[CORE#:]OUTPut:STATe?": Entry(_output_state),
    "[CORE#:]SENSe:TEMPerature?": Entry(_temperature),
    "[CORE#:]CONFigure:RANGe": Entry(_set_range, most=1),
    "[CORE#:]CONFigure:RANGe?": Entry(_range, most=1),
    "[CORE#:]CONFigure:RANGe:CATalog?": Entry(_ranges),
    "[CORE#:]CONFigure:TEMPerature": Entry(_set_temperature, most=1),
    "[CORE#:]CONFigure:TEMPerature?": Entry(_set_point),
    **_register_commands("GAIN", _GAIN),
    **_register_commands("OFFSet", _OFFSET),
}
"""Pattern -> what carries it out."""
