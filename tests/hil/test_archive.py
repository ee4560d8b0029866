"""An archive runs the network again on the chip as it stands: bit for bit, without a pulse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hil import RecordError, RequestError, open_chip
from hil.core import CoreSettings, Pulse
from hil.inference import Deployment, DeploymentSettings, Plan, PlanSettings, deploy_network
from hil.inference.archive import ARCHIVE_FILE, load_deployment, read_archive, save_deployment
from hil.info import PulseFamily

HERMES = "sim:hermes?cores=2&rows=72&cols=32&seed=11"


class Mixed(nn.Module):
    """Convolutions with and without foldable batch-norm, one used twice, a dense layer, blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.apart = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        x = functional.relu(self.twice(x)) + x
        x = self.apart(functional.relu(self.twice(x)) + 0.5)
        return self.head(x.mean(dim=(2, 3)))


class Recurrent1d(nn.Module):
    """A convolution over time and a dense layer kept on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 4, stride=2)
        self.host = nn.Linear(8, 6)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.host(functional.relu(self.conv(x)).amax(dim=2))))


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module: nn.Module, seed: int) -> nn.Module:
    """Give a module random weights and plausible statistics."""
    with torch.no_grad():
        for k, (name, value) in enumerate(module.named_parameters()):
            scale = 0.1 if "norm" in name or "apart" in name else 0.3
            value.copy_(draw(tuple(value.shape), seed + k) * scale + ("norm" in name))
        for k, value in enumerate(module.buffers()):
            if value.is_floating_point():
                value.copy_(draw(tuple(value.shape), seed + 90 + k).abs() + 0.3)
    return module.eval()


def mixed(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        return filled(Mixed(), seed)


def recurrent(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        return filled(Recurrent1d(), seed)


CASES = {
    "none": (mixed, (2, 6, 6), HERMES, "open_loop", "none", {}),
    "global": (mixed, (2, 6, 6), HERMES, "verify", "global", {}),
    "affine_gdp": (mixed, (2, 6, 6), HERMES + "&devices=2", "gdp", "affine", {}),
    "per_column": (mixed, (2, 6, 6), "loopback:" + HERMES, "open_loop", "per_column", {}),
    "batch_norm": (mixed, (2, 6, 6), HERMES, "open_loop", "batch_norm", {}),
    "uncalibrated": (mixed, (2, 6, 6), HERMES, "open_loop", "global", {"calibrate": False}),
    "time": (recurrent, (3, 20), "sim:aon?rows=40&cols=40&seed=2", "open_loop", "affine", {}),
    "ideal": (mixed, (2, 6, 6), "sim:ideal?rows=112&cols=64", "verify", "none", {}),
}


def settings_of(case: str) -> tuple[DeploymentSettings, PlanSettings]:
    module, _, _, method, _, more = CASES[case]
    short = {"max_iterations": 8} if method == "gdp" else {}
    digital = ("host",) if module is recurrent else ()
    unrounded = None if case == "global" else 127
    return (
        DeploymentSettings(method=method, method_settings=short, seed=3, **more),
        PlanSettings(digital=digital, weight_levels=unrounded),
    )


@dataclass
class Kept:
    """A deployment that was kept in `folder`, still on its chip."""

    deployment: Deployment
    folder: Path
    shape: tuple[int, ...]


@pytest.fixture(scope="module", params=CASES)
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    module, shape, address, _, compensation, _ = CASES[request.param]
    folder = tmp_path_factory.mktemp("kept run")
    settings, plan_settings = settings_of(request.param)
    with open_chip(address) as chip:
        deployment = deploy_network(
            chip, module(1), draw((20, *shape), 5), settings, plan_settings=plan_settings
        )
        deployment.run(draw((3, *shape), 6))
        chip.wait(3_600.0)
        deployment.compensate(compensation, draw((20, *shape), 7))
        save_deployment(deployment, folder)
        deployment.module = module  # type: ignore[attr-defined]
        yield Kept(deployment=deployment, folder=folder, shape=shape)


def without_wall(deployment: Deployment) -> object:
    report = deployment.report()
    layers = [layer.model_copy(update={"wall_s": 0.0}) for layer in report.layers]
    return report.model_copy(update={"wall_s": 0.0, "layers": tuple(layers)})


def test_an_archive_runs_on_bit_for_bit_without_a_pulse(kept: Kept) -> None:
    original, verbs = kept.deployment, []
    images = [draw((n, *kept.shape), 60 + n) for n in (1, 5)]
    archive = read_archive(kept.folder)
    with open_chip(archive.address) as chip:
        for core in chip.cores:
            core.observe(lambda event: verbs.append(event.verb))
        # Another set of weights: those of the archive count.
        again = archive.deployment(chip, original.module(77))  # type: ignore[attr-defined]
        assert again.compensation == original.compensation
        assert again.records == original.records
        assert again.plan.layers.keys() == original.plan.layers.keys()
        for batch in images:
            assert torch.equal(original.run(batch), again.run(batch))
            assert without_wall(again) == without_wall(original)
        for mode in ("global", "affine", "none"):
            if not original.settings.calibrate and mode == "affine":
                continue
            for one in (original, again):
                one.chip.wait(86_400.0)
                one.compensate(mode)
            assert torch.equal(original.run(images[1]), again.run(images[1]))
        assert again.records == original.records
        for name, matrix in again.matrices.items():
            assert matrix.evaluate() == original.matrices[name].evaluate()
    assert "program" not in verbs
    assert "mvm" in verbs


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a kept deployment of `Mixed`, and its chip."""
    folder = tmp_path_factory.mktemp("small")
    with open_chip(HERMES) as chip:
        settings = DeploymentSettings(method="open_loop")
        save_deployment(deploy_network(chip, mixed(1), draw((30, 2, 6, 6), 5), settings), folder)
    return folder


def test_a_moved_folder_still_opens_its_chip(small: Path, tmp_path: Path) -> None:
    moved = small.rename(tmp_path / "here & now")
    try:
        archive = read_archive(moved)
        with open_chip(archive.address) as chip:
            assert archive.deployment(chip, mixed(2)).run(draw((2, 2, 6, 6), 1)).shape == (2, 5)
    finally:
        moved.rename(small)


def test_a_chip_that_was_changed_since_is_refused(small: Path) -> None:
    archive = read_archive(small)

    def pulse(chip) -> None:
        chip.cores[1].program(
            Pulse.of(PulseFamily.RESET, device=[0], rows=[70], cols=[30], amplitude=300, width=1)
        )

    def trim(chip) -> None:
        codes = chip.cores[0].settings().gain_trim
        chip.cores[0].configure(CoreSettings(gain_trim=np.where(codes == 0, 1, 0).astype(np.int16)))

    def heat(chip) -> None:
        chip.cores[0].configure(CoreSettings(temperature_kelvin=330.0))

    for change, words in ((pulse, "pulsed since"), (trim, "trimmed since"), (heat, "temperature")):
        with open_chip(archive.address) as chip:
            change(chip)
            with pytest.raises(RecordError, match=words):
                archive.deployment(chip, mixed(1))


@pytest.mark.parametrize(
    "address",
    [
        HERMES.replace("seed=11", "seed=12"),
        HERMES.replace("cores=2", "cores=3"),
        HERMES.replace("rows=72", "rows=73"),
        HERMES,
        "sim:ideal?cores=2&rows=72&cols=32&serial=SIM-HERMES-0000011",
    ],
    ids=["serial", "cores", "rows", "blank", "model"],
)
def test_another_chip_is_refused(small: Path, address: str) -> None:
    with open_chip(address) as chip, pytest.raises(RecordError) as refused:
        load_deployment(small, chip, mixed(1))
    assert "\n" not in str(refused.value)


def test_another_network_is_refused(small: Path) -> None:
    archive = read_archive(small)
    wider = mixed(1)
    with torch.random.fork_rng():
        wider.head = nn.Linear(8, 6)
    with open_chip(archive.address) as chip:
        with pytest.raises(RequestError, match="another network"):
            archive.deployment(chip, recurrent(1))
        with pytest.raises(RequestError, match=r"head\.weight"):
            archive.deployment(chip, wider)


def test_what_does_not_stand_in_the_array_is_not_kept(tmp_path: Path) -> None:
    with open_chip(HERMES) as chip:
        samples = draw((30, 2, 6, 6), 5)
        settings = DeploymentSettings(method="open_loop")
        first = deploy_network(chip, mixed(1), samples, settings)
        in_turn = DeploymentSettings(method="open_loop", plan=Plan.REPROGRAM)
        with pytest.raises(RequestError, match="use plan resident"):
            save_deployment(deploy_network(chip, mixed(1), samples, in_turn), tmp_path)
        deploy_network(chip, mixed(1), samples, settings)
        with pytest.raises(RecordError, match="was programmed since"):
            save_deployment(first, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_archive_gets_one_sentence(small: Path, tmp_path: Path) -> None:
    content = (small / ARCHIVE_FILE).read_bytes()
    flipped = bytearray(content)
    flipped[-9] ^= 4
    for damaged in (content[:-3], content[:50], b"", bytes(flipped), b"no archive"):
        (tmp_path / ARCHIVE_FILE).write_bytes(damaged)
        with pytest.raises(RecordError) as refused:
            read_archive(tmp_path)
        assert "\n" not in str(refused.value)
    with pytest.raises(RecordError, match="does not exist"):
        read_archive(tmp_path / "elsewhere")
