"""Parts to variants: the same recipe on the same chips, one thing changed. Opens nothing.

What a chip does can only be switched off in a simulated one; what the host does, on any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hil.address import address_with, parse_address
from hil.errors import RequestError
from hil.recipe import Recipe

__all__ = ["PARTS", "REFERENCE", "Variant", "parts_for", "plan_variants"]

REFERENCE = "reference"
"""Name of the recipe as it is."""
CALIBRATION, COMPENSATION, ADC = "calibration", "compensation", "adc"

_EFFECTS = {
    "wire": ("wire",),
    "programming": ("cycle", "relaxation", "spread", "stuck", "wear"),
    "read_noise": ("read_noise",),
    "drift": ("drift",),
    "output_noise": ("output_noise",),
    "mismatch": ("mismatch",),
}
"""Effects that a simulated chip goes without, by part."""
_EVERYTHING = "everything"
_WORDS = {
    "wire": "without IR drop",
    "programming": "without programming noise",
    "read_noise": "without read noise",
    "drift": "without drift",
    "output_noise": "without converter noise",
    "mismatch": "without converter mismatch",
    _EVERYTHING: "without any of these effects",
}

_HOST_PARTS = (CALIBRATION, COMPENSATION)
PARTS = (*_HOST_PARTS, ADC, *_EFFECTS, _EVERYTHING)
"""Parts that can be taken away; the host's first."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A recipe with one part changed.

    Attributes:
        name: Names its folder.
        part: The part.
        words: What is different, in words.
        recipe, address: What runs, and on which chip.
    """

    name: str
    part: str
    words: str
    recipe: Recipe
    address: str


def parts_for(address: str) -> tuple[str, ...]:
    """Parts that can be taken away at an address: all of a simulated chip, else the host's."""
    return PARTS if _is_simulated(address) else _HOST_PARTS


def plan_variants(
    recipe: Recipe, address: str, *, parts: Sequence[str], adc_bits: Sequence[int]
) -> tuple[Variant, ...]:
    """List what to run: the recipe as it is, then a variant for every part.

    Compensation needs no run of its own: every run tries all that the recipe lists.

    Args:
        recipe: The recipe.
        address: Chip of the recipe.
        parts: Out of `PARTS`.
        adc_bits: Resolutions of the output converters to try for part "adc".

    Raises:
        RequestError: A part is unknown, or needs a simulated chip.
    """
    for part in parts:
        if part not in PARTS:
            raise RequestError(f"part {part!r} is unknown; known: all, {', '.join(PARTS)}")
        if part not in parts_for(address):
            raise RequestError(
                f"part {part!r} can only be taken away from a simulated chip, not at {address!r}; "
                f"parts for it: {', '.join(parts_for(address))}"
            )
    reference = Variant(
        name=REFERENCE, part=REFERENCE, words="as it is", recipe=recipe, address=address
    )
    variants = [reference]
    for part in dict.fromkeys(parts):
        variants += _variants(reference, part, adc_bits)
    return tuple(variants)


def _variants(reference: Variant, part: str, adc_bits: Sequence[int]) -> Iterable[Variant]:
    recipe, address = reference.recipe, reference.address
    if part == COMPENSATION:
        return
    if part == CALIBRATION:
        mapping = recipe.mapping.model_copy(update={"calibrate": False})
        yield Variant(
            name=part,
            part=part,
            words="without calibration",
            recipe=recipe.model_copy(update={"mapping": mapping}),
            address=address,
        )
    elif part == ADC:
        for bits in dict.fromkeys(adc_bits):
            yield Variant(
                name=f"adc-{bits}",
                part=part,
                words=f"output converters of {bits} bits",
                recipe=recipe,
                address=address_with(address, adc_bits=bits),
            )
    else:
        yield Variant(
            name=part.replace("_", "-"),
            part=part,
            words=_WORDS[part],
            recipe=recipe,
            address=_without(address, _effects(part)),
        )


def _effects(part: str) -> tuple[str, ...]:
    if part != _EVERYTHING:
        return _EFFECTS[part]
    return tuple(effect for effects in _EFFECTS.values() for effect in effects)


def _without(address: str, effects: Sequence[str]) -> str:
    """Switch effects of a simulated chip off, beside those that are off already."""
    already = filter(None, parse_address(address).options.get("off", "").split("+"))
    return address_with(address, off="+".join(dict.fromkeys((*already, *effects))))


def _is_simulated(address: str) -> bool:
    parsed = parse_address(address)
    while parsed.scheme == "loopback":
        parsed = parse_address(parsed.text.removeprefix("loopback:"))
    return parsed.scheme == "sim"
