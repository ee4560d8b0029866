"""What a run keeps for later: its network, standing on its chip. Opens it again, one sample a time.

Knows no recipe and no command line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from hil.audit import append_audit
from hil.chip_records import chip_folder, keeps_records
from hil.dirty import require_clean
from hil.errors import RecordError, RequestError
from hil.inference import Compensation, Deployment
from hil.inference.archive import read_archive, save_deployment
from hil.owned_chip import open_owned
from hil.record import load_record
from hil.run_folder import write_atomically
from hil.training.networks.registry import NetworkSpec, build_network

__all__ = [
    "KEPT_FOLDER",
    "Answer",
    "KeptNetwork",
    "Ranked",
    "Resumed",
    "keep_deployment",
    "kept_folder",
    "read_kept",
    "resume_deployment",
]

KEPT_FOLDER = "deployment"
"""Where a run folder keeps it."""
NETWORK_FILE = "network.json"
LONGEST_DOCUMENT = 1 << 22
"""Bytes of a network document that are read."""
YOUNGER = 0.99
"""An age asked for may lie this far below the chip's own: measuring takes time too."""


class KeptNetwork(BaseModel):
    """What the outputs of a kept network mean.

    Attributes:
        network: What builds it; its weights stand in the archive.
        trained: Whether they come from training.
        dataset: Name of the data set it was trained on: says how a file becomes an input.
        class_names: Classes in the order of their numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    network: NetworkSpec
    trained: bool
    dataset: str
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]


class Ranked(BaseModel):
    """A class with its score, the share that softmax gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    score: float


class Answer(BaseModel):
    """What the chip says of one sample.

    Attributes:
        top: The best classes, best first.
        mvms: Vectors multiplied, all blocks together.
        chip_s, wall_s: Time on the device and here, s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    top: tuple[Ranked, ...]
    mvms: int
    chip_s: float
    wall_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Resumed:
    """A kept deployment on its chip again.

    Attributes:
        deployment: The deployment.
        kept: What its outputs mean.
        forced: Dirty cores that are used all the same.
    """

    deployment: Deployment
    kept: KeptNetwork
    forced: tuple[int, ...] = ()

    @property
    def since_calibration_s(self) -> float:
        """Device time since the layers were calibrated, s."""
        return self._age_s - self._calibrated_at_s

    def let_age(self, since_calibration_s: float) -> None:
        """Let the chip age to so long after calibration, and compensate drift anew.

        A batch-norm compensation stays as it was: it would need samples.

        Raises:
            RequestError: The chip is older already.
        """
        wanted = self._calibrated_at_s + since_calibration_s
        if wanted < YOUNGER * self._age_s:
            raise RequestError(
                f"age {since_calibration_s:g} s: the chip was calibrated "
                f"{self.since_calibration_s:g} s ago and grows no younger; give that or more"
            )
        self.deployment.let_age(wanted)
        if self.deployment.compensation is not Compensation.BATCH_NORM:
            self.deployment.compensate(self.deployment.compensation)

    def answer(self, sample: Float[Tensor, "*shape"], top: int = 3) -> Answer:
        """Run one sample, prepared as an input of the network, and rank the classes.

        Raises:
            RequestError: The sample does not fit the network.
            RecordError: The chip's calibration no longer holds.
        """
        began = time.perf_counter()
        outputs = self.deployment.run(sample.unsqueeze(0))[0]
        wall_s = time.perf_counter() - began
        scores = torch.softmax(outputs.to(torch.float64), dim=0)
        best = torch.argsort(scores, descending=True, stable=True)[:top].tolist()
        report = self.deployment.report()
        return Answer(
            top=tuple(Ranked(name=self.kept.class_names[k], score=float(scores[k])) for k in best),
            mvms=report.mvms,
            chip_s=report.chip_s,
            wall_s=wall_s,
        )

    @property
    def _age_s(self) -> float:
        return min(matrix.age_s for matrix in self.deployment.matrices.values())

    @property
    def _calibrated_at_s(self) -> float:
        settle_s = self.deployment.settings.settle_s
        if settle_s is None:
            return self.deployment.chip.cores[0].info.device.reference_age_s
        return settle_s


def keep_deployment(deployment: Deployment, run: Path, kept: KeptNetwork) -> None:
    """Keep a resident deployment in a run folder, as it stands; its chip is preserved there.

    Raises:
        RequestError: It is reprogrammed layer by layer, or the folder cannot be written.
        RecordError: Something else was programmed over it; nothing was written.
    """
    folder = run / KEPT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    save_deployment(deployment, folder)
    write_atomically(folder / NETWORK_FILE, (kept.model_dump_json(indent=2) + "\n").encode())


def kept_folder(run: Path) -> Path:
    """Return where a run has kept its deployment.

    Raises:
        RecordError: There is no run, or it has kept none.
        RequestError: It is a run on several chips: name one.
    """
    folder = run / KEPT_FOLDER
    if (folder / NETWORK_FILE).is_file():
        return folder
    record = load_record(run)
    chips = sorted(path.parent.parent for path in run.glob(f"*/{KEPT_FOLDER}/{NETWORK_FILE}"))
    if chips:
        raise RequestError(
            f"{run} is a run on {len(chips)} chips; name one of them: "
            f"{', '.join(str(path) for path in chips)}",
            chips=[str(path) for path in chips],
        )
    raise RecordError(
        f"{run} has kept no deployment (its status: {record.status.value}); run a recipe whose "
        'mapping.plan is "resident" to its end',
        path=str(folder),
    )


@contextmanager
def resume_deployment(
    folder: Path,
    kept: KeptNetwork,
    core: str | None = None,
    *,
    force_dirty: bool = False,
    command: str = "",
) -> Iterator[Resumed]:
    """Open the chip of a kept deployment and run it again from there; no pulse is sent.

    Args:
        folder: From `kept_folder`.
        kept: From `read_kept`.
        core: Address of the chip; None is the one it was kept under.
        force_dirty: Use dirty cores all the same; the run folder and the chip's records say so.
        command: Who forces it.

    Raises:
        RecordError: Damaged files, another chip, one that was changed since, or a dirty core.
        CoreUnavailableError: Nothing answers there, or somebody else owns the chip.
        RequestError: The address or the network is unknown.
    """
    archive = read_archive(folder)
    module = build_network(kept.network)
    with open_owned(core or archive.address, command=(command,)) as chip:
        folders = (folder.parent, chip_folder(chip.serial))
        dirty = require_clean(chip, folders, force=force_dirty, command=command)
        if dirty and keeps_records(chip.info):
            cores = [one.core for one in dirty]
            append_audit(chip.serial, "dirty cores forced", cores=cores, command=command)
        yield Resumed(
            deployment=archive.deployment(chip, module),
            kept=kept,
            forced=tuple(one.core for one in dirty),
        )


def read_kept(folder: Path) -> KeptNetwork:
    """Read what the outputs of a kept network mean.

    Raises:
        RecordError: There is no such document, or it is damaged or of another version.
    """
    file = folder / NETWORK_FILE
    try:
        if file.stat().st_size > LONGEST_DOCUMENT:
            raise RecordError(
                f"{file} is longer than {LONGEST_DOCUMENT} bytes; run the recipe again"
            )
        return KeptNetwork.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise RecordError(
            f"{file} does not say which network was kept ({what}); run the recipe again",
            path=str(file),
        ) from error
