"""What each part of a chip and of this software costs: a recipe with and without it."""

from hil.ablation.results import ABLATION_VERSION, AblationResult, AblationRow, AblationVariant
from hil.ablation.run import run_ablation
from hil.ablation.variants import PARTS, REFERENCE, Variant, parts_for, plan_variants

__all__ = [
    "ABLATION_VERSION",
    "PARTS",
    "REFERENCE",
    "AblationResult",
    "AblationRow",
    "AblationVariant",
    "Variant",
    "parts_for",
    "plan_variants",
    "run_ablation",
]
