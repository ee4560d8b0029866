"""`hil infer`: a person's file gets its class from the programmed chip, which is only read."""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from hil import backends, owned_chip
from hil.cli import main
from hil.core import Chip, VerbEvent
from hil.inference import (
    DeploymentSettings,
    NetworkPlan,
    PlanSettings,
    QuantisedReference,
    deploy,
    plan_network,
)
from hil.kept import KEPT_FOLDER, KeptNetwork, keep_deployment
from hil.record import RunStatus, new_record
from hil.run_folder import RunFolder
from hil.session import Session
from hil.training import load_checkpoint, load_dataset
from hil.training.networks.registry import NetworkSpec, build_network, initialise_

IDEAL = "sim:ideal?cores=2&seed=5"
NOISY = "sim:hermes?rows=512&cols=40&seed=5"
DIGITS = tuple("0123456789")
WORDS = ("yes", "no", "other")

Hil = Callable[..., tuple[int, str, str]]


def keep(
    folder: Path, address: str, plan: NetworkPlan, network: KeptNetwork, compensation: str = "none"
) -> Path:
    """Make a run folder with a deployment in it, a day after calibration."""
    record = new_record("test", command=("hil", "run"), seed=0, address=address)
    with (
        RunFolder.create(folder, record) as run,
        Session.open(address, seed=0, folder=run) as session,
    ):
        made = deploy(session.chip, plan, DeploymentSettings(method="open_loop", seed=0))
        made.let_age(86_400.0 + session.chip.cores[0].info.device.reference_age_s)
        made.compensate(compensation)
        keep_deployment(made, run.path, network)
        session.verified()
        run.finish(RunStatus.DONE, {})
    return folder


@pytest.fixture(scope="module")
def plan() -> NetworkPlan:
    module, _ = load_checkpoint("resnet9-digits")
    return plan_network(module, load_dataset("digits").train.images[:64])


@pytest.fixture(scope="module")
def digits(plan: NetworkPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a trained network on an exact chip."""
    network = load_checkpoint("resnet9-digits")[1].network
    meaning = KeptNetwork(network=network, trained=True, dataset="digits", class_names=DIGITS)
    return keep(tmp_path_factory.mktemp("digits") / "run", IDEAL, plan, meaning)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an untrained network for recordings on a noisy chip, drift compensated."""
    shape = (1, 49, 10)
    spec = NetworkSpec(
        name="small-kws",
        architecture="mlp",
        arguments={"image_shape": shape, "hidden": [16], "classes": len(WORDS)},
        image_shape=shape,
        classes=len(WORDS),
    )
    module = build_network(spec).eval()
    generator = torch.Generator().manual_seed(1)
    initialise_(module, generator)
    plan = plan_network(module, torch.randn((64, *shape), generator=generator), PlanSettings())
    meaning = KeptNetwork(network=spec, trained=False, dataset="speech-commands", class_names=WORDS)
    return keep(tmp_path_factory.mktemp("speech") / "run", NOISY, plan, meaning, "affine")


@pytest.fixture
def hil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hil:
    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hil", *map(str, args)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> list[VerbEvent]:
    """Every verb of the chips that are opened."""
    seen: list[VerbEvent] = []

    def watched(address: str) -> Chip:
        chip = backends.open_chip(address)
        for core in chip.cores:
            core.observe(seen.append)
        return chip

    monkeypatch.setattr(owned_chip, "open_chip", watched)
    return seen


def picture(folder: Path, index: int) -> Path:
    """One of scikit-learn's digits as an 8x8 picture."""
    levels = load_digits().images[index] * (255 / 16)
    path = folder / f"digit-{index}.png"
    Image.fromarray(np.rint(levels).astype(np.uint8)).save(path)
    return path


def recording(folder: Path, seed: int) -> Path:
    path = folder / f"take-{seed}.wav"
    tone = np.sin(2 * np.pi * (300 + 200 * seed) * np.arange(16_000) / 16_000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((8_000 * tone).astype("<i2").tobytes())
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_get_the_class_the_network_gives_them(
    hil: Hil, digits: Path, plan: NetworkPlan, tmp_path: Path, verbs: list[VerbEvent]
) -> None:
    chosen = (3, 40, 77, 1500)
    files = [picture(tmp_path, k) for k in chosen]
    before = contents(digits)
    code, out, err = hil("infer", *files, "--run", digits, "--top", 2)
    assert code == 0, err
    found = json.loads(out)
    images = torch.tensor(load_digits().images[list(chosen)] / 16, dtype=torch.float32)
    wanted = QuantisedReference(plan).run(images.unsqueeze(1))
    for answer, file, outputs in zip(found["answers"], files, wanted, strict=True):
        scores = torch.softmax(outputs.double(), 0)
        assert answer["file"] == str(file)
        assert answer["class"] == DIGITS[int(outputs.argmax())]
        assert answer["score"] == pytest.approx(float(scores.max()), rel=1e-2)
        assert [one["score"] for one in answer["top"]] == sorted(
            (one["score"] for one in answer["top"]), reverse=True
        )
        assert len(answer["top"]) == 2
        assert answer["chip_s"] == pytest.approx(answer["mvms"] * 130e-9)
    assert [a["class"] for a in found["answers"]] == [str(load_digits().target[k]) for k in chosen]
    assert (found["backend"], found["chip_serial"]) == ("sim", "SIM-IDEAL-0000005")
    assert "simulated chip SIM-IDEAL-0000005" in err
    assert not [event for event in verbs if event.verb == "program"]
    assert [event for event in verbs if event.verb == "mvm"]
    assert contents(digits) == before


def test_recordings_are_answered_by_the_chip_as_it_stood_each_time_anew(
    hil: Hil, speech: Path, tmp_path: Path
) -> None:
    file, other = recording(tmp_path, 1), recording(tmp_path, 2)
    outs = [hil("infer", file, other, "--run", speech) for _ in range(2)]
    first, again = (json.loads(out) for _, out, _ in outs)
    for answer in (*first["answers"], *again["answers"]):
        answer.pop("wall_s")
    assert first["answers"] == again["answers"]
    assert first["compensation"] == "affine"
    assert first["since_calibration_s"] == pytest.approx(86_400, rel=0.01)
    assert "untrained" in outs[0][2]


def test_an_older_chip_answers_otherwise_and_is_compensated_anew(
    hil: Hil, speech: Path, tmp_path: Path
) -> None:
    file = recording(tmp_path, 1)
    cases: tuple[tuple[tuple[object, ...], float, str], ...] = (
        ((), 86_400.0, "affine"),
        (("--age", 1e8), 1e8, "affine"),
        (("--age", 1e8, "--compensation", "none"), 1e8, "none"),
        (("--compensation", "global"), 86_400.0, "global"),
    )
    tops = []
    for options, age_s, compensation in cases:
        code, out, err = hil("infer", file, "--run", speech, *options)
        assert code == 0, err
        found = json.loads(out)
        assert found["since_calibration_s"] == pytest.approx(age_s, rel=0.01)
        assert found["compensation"] == compensation
        tops.append(found["answers"][0]["top"])
    assert all(one != other for k, one in enumerate(tops) for other in tops[:k])


def test_the_chip_is_reached_through_the_board_driver_as_well(
    hil: Hil, speech: Path, tmp_path: Path
) -> None:
    file = recording(tmp_path, 3)
    _, out, _ = hil("infer", file, "--run", speech)
    direct = json.loads(out)
    code, out, err = hil("infer", file, "--run", speech, "--core", f"loopback:{direct['address']}")
    assert code == 0, err
    assert json.loads(out)["answers"][0]["top"] == direct["answers"][0]["top"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--age", "60"), "no younger"),
        (("--core", NOISY), "generation"),
        (("--core", NOISY.replace("seed=5", "seed=6")), "serial"),
        (("--core", "sim:nowhere"), "unknown preset"),
        (("--invert",), "pictures"),
        (("--compensation", "batch_norm"), "batch_norm"),
    ],
)
def test_what_this_chip_cannot_answer_is_refused(
    hil: Hil, speech: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    code, out, err = hil("infer", recording(tmp_path, 1), "--run", speech, *more)
    assert (code, out) == (2, "")
    assert words in err


def test_files_of_the_wrong_kind_are_refused_before_a_chip_is_opened(
    hil: Hil, digits: Path, speech: Path, tmp_path: Path, verbs: list[VerbEvent]
) -> None:
    text = tmp_path / "note.png"
    text.write_text("a seven")
    good = picture(tmp_path, 0)
    for file, run in ((text, digits), (tmp_path / "none.png", digits), (good, speech)):
        code, out, err = hil("infer", good, file, "--run", run)
        assert (code, out) == (2, "")
        assert err.startswith("hil: ")
        assert err.count("\n") == 1
    assert not verbs


def test_a_folder_without_a_kept_network_is_refused(hil: Hil, digits: Path, tmp_path: Path) -> None:
    file = picture(tmp_path, 0)
    empty = tmp_path / "empty"
    record = new_record("test", command=("hil", "run"), seed=0)
    with RunFolder.create(empty, record):
        pass
    several = tmp_path / "several"
    with RunFolder.create(several, record):
        (several / "chip-1" / KEPT_FOLDER).parent.mkdir(parents=True)
    (several / "chip-1" / KEPT_FOLDER).symlink_to(digits / KEPT_FOLDER)
    for run, words in (
        (tmp_path / "nowhere", "not a run folder"),
        (empty, "has kept no deployment"),
        (several, "chip-1"),
    ):
        code, out, err = hil("infer", file, "--run", run)
        assert (code, out) == (2, "")
        assert words in err


def test_a_damaged_network_document_is_refused(hil: Hil, digits: Path, tmp_path: Path) -> None:
    file = picture(tmp_path, 0)
    broken = tmp_path / "run"
    (broken / KEPT_FOLDER).mkdir(parents=True)
    for content in ("{}", '{"schema_version": 2}', "nothing"):
        (broken / KEPT_FOLDER / "network.json").write_text(content)
        code, _, err = hil("infer", file, "--run", broken)
        assert code == 2
        assert "run the recipe again" in err
