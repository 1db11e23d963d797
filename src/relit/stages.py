"""Run, skip and resume a list of stages, each one plain ``Trainer.fit`` over one LightningModule.

A stage's module is built by ``module(context)`` from a :class:`StageContext` and gives back what it learned
through ``handover()``, a :data:`Weights`. Handed-over weights accumulate: a later stage sees, and may
replace, what earlier ones gave.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from relit.atomic import atomic_write
from relit.checkpoints import newest_checkpoint
from relit.clip import check_clip
from relit.errors import ConfigurationError
from relit.exit_status import exit_status
from relit.keyed import keyed_seed
from relit.last_validation import LastValidation
from relit.learning_rate import SCALINGS, scaled_rates
from relit.loggers import RunLogger
from relit.lost_process import losses_named
from relit.plan import PlannedStage, expand_plan
from relit.processes import end_together, fail_together, join_processes
from relit.provenance import NoteData, begin_sitting
from relit.pruning import GiveWay, Pruning, Trial
from relit.run_lock import RunLock
from relit.run_state import FinishedStage, RunState, open_run, write_state
from relit.stage_trainer import stage_trainer
from relit.stop_signals import Stopped, StopSignals
from relit.targets import resolve_target
from relit.weights import WEIGHTS_FILE, Weights, read_weights, write_weights

log = logging.getLogger(__name__)

_default_format = warnings.formatwarning

BATCH_KEYS = frozenset({"augment", "batch_size", "crop", "images", "num_workers"})
"""Settings of a data module that say how its photographs are handed out, not which they are."""


@dataclass(frozen=True)
class StageContext:
    """What a stage's module is built from.

    Attributes:
        name: the stage's key under ``stage``.
        index: its place in the plan, from 1.
        count: stages in the plan.
        round: 1-based refinement round; 0 before the rounds.
        seed: key of all the stage's random numbers: a function of the run's seed, ``index`` and ``name``.
        weights: handed over so far, on the CPU. Copy before changing in place.
        run_dir: the run's directory.
        clip: the frozen CLIPs by role; empty where the configuration has none.
        network: builds a new network from the ``network`` node.
        compile: whether :meth:`compiled` compiles.
    """

    name: str
    index: int
    count: int
    round: int
    seed: int
    weights: Weights
    run_dir: Path
    clip: Mapping[str, Any]
    network: Callable[[], nn.Module]
    compile: bool = False

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` through ``torch.compile`` where the run asks for it."""
        return torch.compile(function) if self.compile else function


class StageModule(Protocol):
    """A LightningModule that hands over what it learned.

    Its class may have ``check(key, settings, round, clip)``, which raises ConfigurationError for settings
    that can't work. It is called for every place in the plan before the first stage.
    """

    def handover(self) -> Weights:
        """The tensors this stage adds or replaces, by name. Called once, after training."""
        ...


@dataclass(frozen=True)
class RunContext:
    """What each callable of ``finish`` gets after the last stage, on every rank.

    What is not shared out over the ranks, such as writing files, is for rank 0 alone. The metrics that rank 0
    returns are the run's.

    Attributes:
        cfg: the resolved configuration as plain containers.
        run_dir: the run's directory.
        weights: everything the stages handed over, on the CPU.
        datamodule: the last stage's data module; ``setup`` may not have been called in this process.
        clip: as in :class:`StageContext`.
        network: as in :class:`StageContext`.
        device: where the stages trained.
        steps: optimisation steps of all stages.
        logger: for figures; None where ``logger=none``. Returned metrics are logged by the runner.
        rank, world_size: which process this is, and of how many.
        trained: whether this sitting trained or took up the run; with ``train=false`` weights are only
            evaluated.
    """

    cfg: dict[str, Any]
    run_dir: Path
    weights: Weights
    datamodule: LightningDataModule
    clip: Mapping[str, Any]
    network: Callable[[], nn.Module]
    device: torch.device
    steps: int
    logger: RunLogger | None
    rank: int = 0
    world_size: int = 1
    trained: bool = True


def run_stages(cfg: DictConfig, trial: Trial | None = None) -> dict[str, float]:
    """Train every stage of ``cfg.plan`` that is not finished yet, then call ``cfg.finish``.

    With ``train=false`` nothing is trained: ``cfg.finish`` gets the finished run's weights, or those of
    ``cfg.start`` where the directory holds no run.

    Args:
        cfg: the composed configuration (``conf/train.yaml``), checked by :mod:`relit.checks`.
        trial: the run as one of a sweep's, told the validation metric that ``cfg.monitor`` names.

    Returns:
        What the stages were last validated by (``val/...``) and the metrics that the ``finish`` callables
        returned, merged; the same on every rank.

    Raises:
        ConfigurationError: the run directory holds a run with other settings or is in use, or an input is
            wrong.
        TrialPruned: ``trial`` gave the run up, or another worker has taken it over.
        Stopped: a signal ended the run.
    """
    config = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    run_dir = Path(config["run_dir"])
    if config["threads"] is not None:
        torch.set_num_threads(config["threads"])
    _quieten_lightning()
    warnings.formatwarning = _plain_warning
    lock = RunLock(run_dir)
    with StopSignals() as signals:
        strategy = join_processes(config["trainer"], signals)
        try:
            return _run(config, run_dir, strategy, lock, signals, trial)
        except Exception as error:
            fail_together(error, signals, strategy)
            raise
        finally:
            lock.release()


def _run(
    config: dict[str, Any],
    run_dir: Path,
    strategy: Strategy,
    lock: RunLock,
    signals: StopSignals,
    trial: Trial | None,
) -> dict[str, float]:
    state = _open_run_on_all_ranks(strategy, lock, run_dir, config)
    logger = _build_logger(config, run_dir, state)
    run = _Run(config, run_dir, expand_plan(config["plan"]), state, strategy, logger, signals, trial)
    exit_code, interrupted = 0, False
    try:
        with signals.explaining_losses(), losses_named():
            return run.train_and_finish()
    except BaseException as error:
        exit_code = exit_status(error)
        if interrupted := isinstance(error, Stopped):
            end_together(error, signals, strategy)
        raise
    finally:
        if logger is not None:
            logger.close(exit_code, interrupted)


def build(node: Mapping[str, Any]) -> Any:
    """Instantiate a ``_target_`` node with plain containers; a ConfigurationError inside stays one."""
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ConfigurationError):
                raise cause from None
            cause = cause.__cause__
        raise


def bind(node: Mapping[str, Any]) -> Callable[..., Any]:
    """The callable that a ``_target_`` node describes, its keywords bound; called with the rest later."""
    return cast("Callable[..., Any]", build({**node, "_partial_": True}))


@dataclass
class _Run:
    config: dict[str, Any]
    run_dir: Path
    plan: list[PlannedStage]
    state: RunState
    strategy: Strategy
    logger: RunLogger | None
    signals: StopSignals
    trial: Trial | None = None
    _clip: dict[str, Any] = field(default_factory=dict)
    _datamodules: dict[str, LightningDataModule] = field(default_factory=dict)
    _sources: dict[str, LightningDataModule] = field(default_factory=dict)

    def train_and_finish(self) -> dict[str, float]:
        self._clip = build_clips(self.config.get("clip") or {})
        if not self.config["train"]:
            return self._finish(*self._weights_to_evaluate())
        if self.strategy.is_global_zero:
            atomic_write(self.run_dir / "config.yaml", OmegaConf.to_yaml(self.config).encode())
        self._check_modules()
        if self.strategy.is_global_zero:
            processes = getattr(self.strategy, "world_size", 1)
            begin_sitting(self.run_dir, self.logger, self.strategy.root_device, processes)
        done = len(self.state.finished)
        if done and self.strategy.is_global_zero:
            log.info("Continuing %s: %d of %d stages are done.", self.run_dir, done, len(self.plan))
        weights = self._stored_weights(self.plan[done - 1]) if done else self._starting_weights()
        for planned in self.plan[done:]:
            weights = self._train(planned, weights)
            self._leave_if_asked(planned)
        return self._finish(weights, self.state.offset)

    def _weights_to_evaluate(self) -> tuple[Weights, int]:
        """The finished run's weights, or those that ``start`` names, and how many steps they were trained."""
        if len(self.state.finished) == len(self.plan):
            return self._stored_weights(self.plan[-1]), self.state.offset
        if self.state.finished or any(self.run_dir.glob("stages/*/checkpoints/*")):
            raise ConfigurationError(
                f"train=false: the run in {self.run_dir} is not finished. Finish it without train=false, or "
                "evaluate other weights with name=other start=FILE."
            )
        if self.config.get("start") is not None:
            return self._read_start(self.config["start"])
        if (self.run_dir / WEIGHTS_FILE).is_file():
            return self._read_start(self.run_dir / WEIGHTS_FILE)
        raise ConfigurationError(
            f"train=false: {self.run_dir} holds no finished run. Name the run's directory with name=NAME, or "
            "a weight file with start=FILE."
        )

    def _check_modules(self) -> None:
        """Let each stage's module refuse its settings now, not when its turn comes."""
        for planned in self.plan:
            settings = self.config["stage"][planned.name]["module"]
            check = getattr(resolve_target(settings["_target_"]), "check", None)
            if check is not None:
                check(f"stage.{planned.name}.module", settings, planned.round, self._clip)

    def _train(self, planned: PlannedStage, weights: Weights) -> Weights:
        """Train one stage, from its checkpoint if there is one; return all weights handed over so far."""
        stage = self.config["stage"][planned.name]
        context = StageContext(
            name=planned.name,
            index=planned.index,
            count=planned.count,
            round=planned.round,
            seed=keyed_seed(self.config["seed"], planned.index, planned.name),
            weights=weights,
            run_dir=self.run_dir,
            clip=self._clip,
            network=self._network_to_train,
            compile=self.config.get("compile", False),
        )
        # what a layer draws for itself at construction is keyed, too
        torch.manual_seed(context.seed)
        module: LightningModule = bind(self._settings_of_module(planned, stage))(context)
        if self.logger is not None:
            self.logger.offset = self.state.offset
        folder = self._folder(planned)
        last = LastValidation()
        noted = NoteData(self.run_dir, planned.folder, self.logger)
        watchers = [noted, last, *self._pruning()]
        before = self._before(planned)
        trainer = stage_trainer(self.config, planned, folder, before, self.logger, self.signals, watchers)
        datamodule = self._datamodule(stage)
        found = newest_checkpoint(folder / "checkpoints") if self.strategy.is_global_zero else None
        checkpoint = self.strategy.broadcast(found)
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        weights = {**weights, **_on_cpu(cast("StageModule", module).handover())}
        # data modules outlive stages; by their trainer they would keep the module and its features alive
        datamodule.trainer = None
        self._record(planned, weights, trainer.global_step, last.of_handover(trainer))
        return weights

    def _settings_of_module(self, planned: PlannedStage, stage: Mapping[str, Any]) -> dict[str, Any]:
        """Learning rates as ``scale_lr`` has them for all processes together; their batch is told."""
        processes, rule = getattr(self.strategy, "world_size", 1), self.config.get("scale_lr", "none")
        if processes > 1 and self.strategy.is_global_zero:
            batch = {**self.config["data"], **(stage.get("data") or {})}.get("batch_size", 1)
            log.info(
                "%s: %d processes x batch_size %d = %d photographs or pairs a step; learning rates x %.3g",
                planned.name,
                processes,
                batch,
                processes * batch,
                SCALINGS[rule](processes),
            )
        return scaled_rates(stage["module"], rule, processes)

    def _leave_if_asked(self, planned: PlannedStage) -> None:
        """After a stage that was recorded while a signal had come in."""
        number = self.signals.agreed(self.strategy)
        # not before: a signal in between would end one process while the others agree
        self.signals.deferred = False
        if number is not None:
            raise Stopped(number, f"the end of stage {planned.name}")

    def _pruning(self) -> list[Callback]:
        monitor = self.config.get("monitor")
        if self.trial is None or monitor is None:
            return []
        leave = GiveWay(self.trial, self.config["checkpoint_every"])
        return [Pruning(self.trial, monitor, self.state.offset), leave]

    def _record(
        self, planned: PlannedStage, weights: Weights, steps: int, validated: dict[str, float]
    ) -> None:
        """Weights first, then the state that vouches for them, then the checkpoints can go."""
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        self.state.finished.append(FinishedStage(planned.index, planned.name, steps, validated, ended))
        if self.strategy.is_global_zero:
            metadata = {
                "stage": planned.name,
                "index": planned.index,
                "round": planned.round,
                "steps": steps,
                "clip": {role: clip.identity.as_dict() for role, clip in self._clip.items()},
            }
            write_weights(self._folder(planned) / WEIGHTS_FILE, weights, metadata)
            write_state(self.run_dir, self.state)
            shutil.rmtree(self._folder(planned) / "checkpoints", ignore_errors=True)
        self.strategy.barrier("stage finished")

    def _finish(self, weights: Weights, steps: int) -> dict[str, float]:
        context = RunContext(
            cfg=self.config,
            run_dir=self.run_dir,
            weights=weights,
            datamodule=self._datamodule(self.config["stage"][self.plan[-1].name]),
            clip=self._clip,
            network=self._build_network,
            device=self.strategy.root_device,
            steps=steps,
            logger=self.logger,
            rank=getattr(self.strategy, "global_rank", 0),
            world_size=getattr(self.strategy, "world_size", 1),
            trained=self.config["train"],
        )
        if self.logger is not None:
            self.logger.offset = steps
        metrics: dict[str, float] = {}
        for node in self.config.get("finish") or []:
            metrics.update(bind(node)(context) or {})
        if self.logger is not None and metrics and self.strategy.is_global_zero:
            self.logger.log_metrics(metrics)
            self.logger.save()
        self._log_results(steps)
        return {**self.state.validated, **self.strategy.broadcast(metrics)}

    def _log_results(self, steps: int) -> None:
        """Hand the finished run's pictures and weights to the logger."""
        if self.logger is None or not self.strategy.is_global_zero:
            return
        self.logger.log_samples(self.run_dir / "samples")
        weights = self.run_dir / WEIGHTS_FILE
        if self.config["train"] and weights.is_file():
            self.logger.log_weights(weights, "final", {"steps": steps, "seed": self.config["seed"]})

    def _datamodule(self, stage: Mapping[str, Any]) -> LightningDataModule:
        """Stages with equal data settings share a data module; if only batches differ, its photographs."""
        node = {**self.config["data"], **(stage.get("data") or {})}
        key = json.dumps(node, sort_keys=True)
        if key not in self._datamodules:
            built = build(node)
            content = {name: value for name, value in node.items() if name not in BATCH_KEYS}
            first = self._sources.setdefault(json.dumps(content, sort_keys=True), built)
            if first is not built and hasattr(built, "share"):
                built.share(first)
            self._datamodules[key] = built
        return self._datamodules[key]

    def _build_network(self) -> nn.Module:
        if self.config.get("network") is None:
            raise ConfigurationError("network: this stage needs a network, but the configuration names none.")
        return cast("nn.Module", build(self.config["network"]))

    def _network_to_train(self) -> nn.Module:
        layout = torch.channels_last if self.config.get("channels_last", True) else torch.contiguous_format
        return self._build_network().to(memory_format=layout)

    def _starting_weights(self) -> Weights:
        """What the first stage finds: the groups of the ``start`` file, if there is one."""
        start = self.config.get("start")
        return {} if start is None else self._read_start(start)[0]

    def _read_start(self, start: str | Path) -> tuple[Weights, int]:
        """The groups of a weight file, and how many steps they were trained; 0 where it does not say."""
        if Path(start).suffix in (".pth", ".pt"):
            raise ConfigurationError(
                f"start={start}: make a weight file of it first: relit import {start} -o weights.safetensors"
            )
        weights, metadata = read_weights(start)
        check_clip(metadata, {role: clip.identity for role, clip in self._clip.items()}, start)
        return weights, int(metadata.get("steps") or 0)

    def _stored_weights(self, planned: PlannedStage) -> Weights:
        weights, _ = read_weights(self._folder(planned) / WEIGHTS_FILE)
        return weights

    def _before(self, planned: PlannedStage) -> Path | None:
        """The weights that the stage before ``planned`` left."""
        if planned.index == 1:
            return None
        return self._folder(self.plan[planned.index - 2]) / WEIGHTS_FILE

    def _folder(self, planned: PlannedStage) -> Path:
        return self.run_dir / "stages" / planned.folder


def _open_run_on_all_ranks(
    strategy: Strategy, lock: RunLock, run_dir: Path, config: dict[str, Any]
) -> RunState:
    """Rank 0 locks, and reads or begins, the run; what it found, a refusal too, holds for every rank."""
    outcome: RunState | ConfigurationError | None = None
    if strategy.is_global_zero:
        try:
            lock.acquire()
            processes = getattr(strategy, "world_size", 1)
            outcome = open_run(run_dir, config, fresh=bool(config["fresh"]), processes=processes)
        except ConfigurationError as error:
            outcome = error
    outcome = strategy.broadcast(outcome)
    if isinstance(outcome, ConfigurationError):
        raise outcome
    assert outcome is not None
    return outcome


def _build_logger(config: dict[str, Any], run_dir: Path, state: RunState) -> RunLogger | None:
    if not config.get("logger"):
        return None
    factory = bind(config["logger"])
    # the runs of a sweep share their name, but not their place in the folder of runs
    runs = Path(config["runs"]).absolute()
    inside = run_dir.absolute().is_relative_to(runs)
    run_name = run_dir.absolute().relative_to(runs).as_posix() if inside else str(config["name"])
    return RunLogger(factory(run_dir=run_dir, run_name=run_name, run_id=state.run_id, config=config))


def build_clips(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Instantiate each role's CLIP; roles with equal settings share one."""
    built: dict[str, Any] = {}
    roles: dict[str, Any] = {}
    for role, node in nodes.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            continue
        key = json.dumps(node, sort_keys=True)
        if key not in built:
            built[key] = build(node)
        roles[role] = built[key]
    return roles


def _on_cpu(weights: Weights) -> Weights:
    return {name: dict(_copies(tensors.items())) for name, tensors in weights.items()}


def _copies(tensors: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
    for name, tensor in tensors:
        yield name, tensor.detach().to("cpu", copy=True).contiguous()


def _plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings are for whoever started the run: the message alone, no line of source."""
    ours = category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent)
    return f"warning: {message}\n" if ours else _default_format(message, category, filename, lineno, line)


def _quieten_lightning() -> None:
    # one Trainer per stage would repeat its devices and tips each time
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # but not what it says before it kills this process because another one has ended
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    # for each Trainer of a run on a machine that has SLURM
    warnings.filterwarnings("once", message=r"The `srun` command is available.*")
    # Lightning's own business with torch, and advice that is wrong for photos held in memory
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    # which the message about validate_every says better
    warnings.filterwarnings("ignore", message=r".*Total length of .* across ranks is zero.*")
    # a rank, or the whole set, may have no photograph of some kind
    warnings.filterwarnings("ignore", message=r".*was called before the ``update``.*")
