"""Loggers: CSV by default, Weights & Biases and TensorBoard by choice, all on one step axis.

A factory here is a Hydra target under ``logger``; the runner calls it with what describes the run.
"""

from __future__ import annotations

import json
import netrc
import os
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from relit.data.photo import read_photo, write_png
from relit.errors import ConfigurationError


class RunLogger(Logger):
    """Adds the steps of the finished stages to each logged step: a stage's Trainer counts from zero.

    Args:
        inner: the logger that writes.

    Attributes:
        offset: steps of all finished stages; the runner sets it before each stage.
    """

    def __init__(self, inner: Logger) -> None:
        super().__init__()
        self.inner = inner
        self.offset = 0

    @property
    def name(self) -> str | None:
        """The inner logger's name."""
        return self.inner.name

    @property
    def version(self) -> int | str | None:
        """The inner logger's version or run id."""
        return self.inner.version

    @property
    def save_dir(self) -> str | None:
        """The inner logger's folder."""
        return self.inner.save_dir

    @property
    def experiment(self) -> Any:
        """The inner logger's writer (a W&B run, a SummaryWriter ...), opened on first use."""
        return self.inner.experiment  # type: ignore[attr-defined]

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log ``metrics`` at ``step`` of the current stage; ``None`` means the stage's beginning."""
        self.inner.log_metrics(dict(metrics), step=self.offset + (step or 0))

    @rank_zero_only
    def log_pictures(self, pictures: Mapping[str, Tensor], step: int) -> None:
        """Log pictures (3, H, W) in [0, 1] by name at ``step`` of the current stage.

        W&B and TensorBoard show them beside the curves; with CSV they are PNG files, ``pictures/<step>``
        beside the metrics.
        """
        step += self.offset
        if isinstance(self.inner, WandbLogger):
            for name, picture in pictures.items():
                self.inner.log_image(name, [to_pil_image(picture)], step=step)
        elif isinstance(self.inner, TensorBoardLogger):
            for name, picture in pictures.items():
                self.inner.experiment.add_image(name, picture, step)
        elif isinstance(self.inner, CSVLogger):
            for name, picture in pictures.items():
                write_png(Path(self.inner.log_dir, "pictures", f"{step:06d}", f"{name}.png"), picture)

    @rank_zero_only
    def log_samples(self, folder: Path) -> None:
        """Show the PNG files in ``folder`` beside the curves; with CSV they are where they are."""
        if not isinstance(self.inner, CSVLogger):
            files = sorted(folder.glob("*.png"))
            self.log_pictures({f"samples/{file.stem}": read_photo(file) / 255 for file in files}, step=0)

    @rank_zero_only
    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep ``facts`` about the run: in W&B's configuration, or as TensorBoard's text.

        With CSV, ``config.yaml`` and ``provenance.json`` in the run directory have them.
        """
        if isinstance(self.inner, WandbLogger):
            self.inner.experiment.config.update({name: dict(facts)}, allow_val_change=True)
        elif isinstance(self.inner, TensorBoardLogger):
            indented = "".join(f"    {line}\n" for line in json.dumps(facts, indent=2).splitlines())
            self.inner.experiment.add_text(name, indented, self.offset)

    @rank_zero_only
    def log_weights(self, file: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """Keep a weight file as a version of W&B's artifact ``NAME-weights``, with ``facts`` about it.

        NAME is the run's; aliases are ``latest`` and ``alias``. Other loggers leave the file where it is.
        """
        if not isinstance(self.inner, WandbLogger):
            return
        import wandb

        run = self.inner.experiment
        name = re.sub(r"[^\w.-]+", "-", f"{run.name or run.id}-weights")
        artifact = wandb.Artifact(name, type="weights", metadata=dict(facts))
        artifact.add_file(str(file), name=file.name)
        run.log_artifact(artifact, aliases=["latest", alias])

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Pass on hyperparameters."""
        self.inner.log_hyperparams(params, *args, **kwargs)

    def save(self) -> None:
        """Flush."""
        self.inner.save()

    def finalize(self, status: str) -> None:
        """End of one stage, not of the run: flush and stay open."""
        self.inner.save()

    @rank_zero_only
    def close(self, exit_code: int, interrupted: bool = False) -> None:
        """End of the run: W&B gets the exit status, so that a failed run shows as failed.

        One that was ``interrupted`` by a signal shows as preempted; a sweep of W&B's begins it again. If the
        run has ended by an error, that one counts: what fails here is a warning. W&B's own process may have
        ended first, by the same signal.
        """
        try:
            self._close(exit_code, interrupted)
        except Exception as error:
            if exit_code == 0:
                raise
            warnings.warn(f"logger: the end of the run is not logged ({error!r})", stacklevel=1)

    def _close(self, exit_code: int, interrupted: bool) -> None:
        if isinstance(self.inner, WandbLogger):
            if self.inner._experiment is not None:
                if interrupted:
                    self.inner.experiment.mark_preempting()
                self.inner.experiment.finish(exit_code=exit_code)
        else:
            self.inner.finalize("success" if exit_code == 0 else "failed")


def csv_logger(run_dir: Path, run_name: str, run_id: str, config: dict[str, Any]) -> Logger:  # noqa: ARG001
    """``<run_dir>/logs/version_<n>/metrics.csv``: a new version each time, so nothing is overwritten."""
    return CSVLogger(save_dir=run_dir, name="logs")


def tensorboard_logger(run_dir: Path, run_name: str, run_id: str, config: dict[str, Any]) -> Logger:  # noqa: ARG001
    """Event files in ``<run_dir>/tensorboard``. Needs ``pip install "relit[tensorboard]"``."""
    try:
        return TensorBoardLogger(save_dir=run_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            'logger: TensorBoard is not installed. Use pip install "relit[tensorboard]", or logger=csv.'
        ) from error


def wandb_logger(
    run_dir: Path,
    run_name: str,
    run_id: str,
    config: dict[str, Any],
    project: str = "relit",
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
) -> Logger:
    """One W&B run per run directory, resumed under the same id, its files in ``<run_dir>/wandb``; no prompts.

    Offline, W&B cannot resume: a resumed run adds a segment ``wandb/offline-run-*`` under the same id. Give
    all of them to one ``wandb sync <run_dir>/wandb/offline-run-*``: it sends those of one run one after the
    other, oldest first.

    Args:
        run_dir: the run's directory.
        run_name: display name.
        run_id: W&B id, kept in ``state.json``.
        config: the resolved configuration.
        project: W&B project.
        entity: W&B team or user.
        group: W&B group: runs that are shown together.
        job_type: what the run is among those of its group, such as ``trial``.
        tags: W&B tags.
        mode: ``online``, ``offline``, ``disabled``, or ``auto``: what WANDB_MODE says, else online if a
            key is configured, else offline.
    """
    known = ("auto", "online", "offline", "disabled")
    if mode not in known:
        raise ConfigurationError(f"logger.mode: {mode!r} is not one of {', '.join(known)}.")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_credentials() else "offline")
    if mode == "online" and not has_wandb_credentials():
        raise ConfigurationError(
            "logger.mode=online needs a W&B key: set WANDB_API_KEY, or `wandb login`, or logger.mode=offline."
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        tags=list(tags),
        name=run_name,
        id=run_id,
        save_dir=run_dir,
        config=config,
        mode=mode,
        # offline, too: `wandb sync` reads it from the segment and then appends instead of beginning anew
        resume="allow",
    )


def has_wandb_credentials() -> bool:
    """Whether W&B would log in without asking: a key or token in the environment, or a netrc entry."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()]
    for file in files:
        try:
            if host and host in netrc.netrc(file).hosts:
                return True
        except FileNotFoundError:
            continue
        except (netrc.NetrcParseError, OSError) as error:
            warnings.warn(f"{file}: not readable ({error}); no W&B key taken from it", stacklevel=2)
    return False
