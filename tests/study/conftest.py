"""Results of a made-up run: answers drawn at random, everything else computed from them."""

from __future__ import annotations

import numpy as np
import pytest

from hil.experiment_answers import Answers
from hil.experiment_difference import differences_of, losses_of
from hil.experiment_results import (
    ExperimentResult,
    LayerPlace,
    LayerPoint,
    MethodResult,
    Point,
    RepeatedResult,
    spreads,
)
from hil.inference.plan_report import LayerPlan, PlanReport
from hil.info import BackendKind
from hil.mapping import CoreSize, PlacedBlock, Placement
from hil.record import ChipIdentity

AGES = (0.0, 3600.0, 86400.0)
COMPENSATIONS = ("none", "global", "batch_norm", "affine")
LAYERS = ("conv0", "conv1", "res1.0", "res1.1", "conv4", "dense")
ERROR = {"verify": 0.18, "gdp": 0.095}
SAMPLES, CLASSES = 360, 10
MVM_S = 130e-9


def make_answers(seed: int, methods=tuple(ERROR)) -> Answers:
    """Draw answers: right with a probability that falls with age, less so with compensation."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, CLASSES, SAMPLES).astype(np.int16)
    keys = tuple((m, age, c) for m in methods for age in AGES for c in COMPENSATIONS)

    def drawn(share: float) -> np.ndarray:
        wrong = rng.random(SAMPLES) > share
        return np.where(wrong, (labels + 1) % CLASSES, labels).astype(np.int16)

    chip = [
        drawn(0.97 - ERROR[m] / 4 - AGES.index(age) * 0.02 * (c == "none")) for m, age, c in keys
    ]
    return Answers(
        keys=keys, chip=np.stack(chip), software=drawn(0.98), quantised=drawn(0.98), labels=labels
    )


def make_result(seed: int = 7, answers: Answers | None = None, **changes) -> ExperimentResult:
    answers = answers or make_answers(seed)
    methods = tuple(dict.fromkeys(m for m, _, _ in answers.keys))
    confusion = answers.confusion(("gdp", AGES[-1], "affine"), CLASSES)
    values = {
        "recipe": "digits",
        "title": "ResNet-9 on <digits> & more",
        "chip": ChipIdentity(
            serial=f"SIM-{seed}", backend=BackendKind.SIM, model="hermes", versions={}
        ),
        "address": f"sim:hermes?cores=2&seed={seed}",
        "seed": 0,
        "network": "resnet9-digits",
        "dataset": "digits",
        "samples": SAMPLES,
        "trained": True,
        "sample_word": "images",
        "class_names": tuple(f"number <{k}>" for k in range(CLASSES)),
        "software_accuracy": float(answers.software_right.mean()),
        "quantised_accuracy": float((answers.quantised == answers.labels).mean()),
        "methods": tuple(_cost(m) for m in methods),
        "points": tuple(_point(answers, key) for key in answers.keys),
        "layers": tuple(_layer_point(key, name) for key in answers.keys for name in LAYERS),
        "rows": 256,
        "cols": 256,
        "placement": tuple(
            LayerPlace(layer=name, core=i % 2, row=0, col=40 * i, rows=252, cols=38)
            for i, name in enumerate(LAYERS)
        ),
        "utilisation": 0.66,
        "plan": _plan(),
        "differences": differences_of([answers], "gdp"),
        "losses": losses_of([answers]),
        "confusion": tuple(map(tuple, confusion.tolist())),
        "recall": tuple((confusion.diagonal() / confusion.sum(axis=1)).tolist()),
        "goal_method": "gdp",
        "goal_compensation": "affine",
        "max_accuracy_loss": 0.03,
        "goal_met": True,
        "verdict": "Goal met: fine.",
        "chip_s": 90_000.0,
        "wall_s": 60.0,
    }
    return ExperimentResult(**{**values, **changes})


def make_repeated(seeds=(1, 2, 3), **changes) -> RepeatedResult:
    answers = [make_answers(seed) for seed in seeds]
    runs = tuple(make_result(seed, a) for seed, a in zip(seeds, answers, strict=True))
    values = {
        "recipe": "digits",
        "runs": runs,
        "spreads": spreads(runs),
        "differences": differences_of(answers, "gdp"),
        "losses": losses_of(answers),
        "software_accuracy": runs[0].software_accuracy,
        "goal_met": False,
        "verdict": "Goal not met: by far.",
    }
    return RepeatedResult(**{**values, **changes})


def _point(answers, key) -> Point:
    method, age, compensation = key
    return Point(
        method=method,
        age_s=age,
        measured_age_s=age + 5,
        compensation=compensation,
        accuracy=float(answers.right(key).mean()),
        mvm_error=ERROR[method],
        saturated_share=0.0,
    )


def _layer_point(key, name) -> LayerPoint:
    method, age, compensation = key
    return LayerPoint(
        method=method,
        age_s=age,
        compensation=compensation,
        layer=name,
        mvm_error=ERROR[method] * (0.8 + 0.1 * LAYERS.index(name)),
        saturated_share=0,
    )


def _cost(method) -> MethodResult:
    return MethodResult(
        method=method,
        outcome="every cell was accepted",
        success_share=0.999,
        pulses_per_device=3.4,
        pulses_max=30,
        pulses_total=1000,
        pulses_histogram=tuple(int(1e5 * 0.7**k) for k in range(30)),
        reads=10,
        mvms=5000,
        mvm_error=ERROR[method],
        mvm_error_affine=None,
        mvm_error_relu=ERROR[method],
        mvm_error_relu_affine=ERROR[method],
        chip_s=12.0,
        wall_s=20.0,
    )


def _blocks() -> tuple[PlacedBlock, ...]:
    return tuple(
        PlacedBlock(
            **{"layer": name, "row": 0, "col": 0, "rows": 252, "cols": 38},
            **{"core": k % 2, "core_row": 0, "core_col": 40 * k},
        )
        for k, name in enumerate(LAYERS)
    )


def _plan() -> PlanReport:
    layers = tuple(
        LayerPlan(
            **{"name": name, "kind": "Conv2d", "rows": 252, "cols": 38, "cells": 9576},
            **{"row_splits": 1, "col_splits": 1, "blocks": 1, "cores": (k % 2,)},
            **{"shares_with": (), "rounds": 1, "copies": 1, "calls": 1, "vectors": 64},
            **{"mvms": 64, "cycles": 64, "chip_s": 64 * MVM_S, "partial_sums": 0},
            input_range=1.0,
        )
        for k, name in enumerate(LAYERS)
    )
    mvms = 64 * len(LAYERS)
    return PlanReport(
        **{"plan": "resident", "chip_serial": "SIM-7", "backend": BackendKind.SIM},
        **{"model": "hermes", "layers": layers, "cores": (), "host": (), "methods": ()},
        **{"weights": 57456, "cells": 57456, "cells_chip": 131072, "utilisation": 0.4384},
        **{"rounds": 2, "devices": 229824, "mvms": mvms, "cycles": mvms, "partial_sums": 0},
        **{"mvm_s": MVM_S, "chip_s": mvms * MVM_S, "samples_per_s": 1 / (mvms * MVM_S)},
        ranges_calibrated=True,
        placements=(Placement(cores=(CoreSize(rows=256, cols=256),) * 2, blocks=_blocks()),),
    )


@pytest.fixture
def made_up():
    """Makes the results of a run on one chip: `made_up(seed, **changes)`."""
    return make_result


@pytest.fixture
def made_up_repeat():
    """Makes the results of a run on several chips: `made_up_repeat(seeds, **changes)`."""
    return make_repeated
