"""A sweep before its first run: the spaces that are shipped, and mistakes that would fail every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

from compositions import composed, configurations  # noqa: E402
from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402
from hydra.core.utils import JobReturn, JobStatus  # noqa: E402
from hydra.plugins.launcher import Launcher  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402
from optuna.distributions import FloatDistribution  # noqa: E402

from relit.errors import ConfigurationError  # noqa: E402
from relit.sweep.search_space import as_text, read_space, suggest  # noqa: E402
from relit.sweep.sweeper import (  # noqa: E402
    SweepSettings,
    check_grid,
    check_keys,
    check_monitor,
    common_settings,
    sweep,
)
from relit.sweep.trial import database  # noqa: E402

SHIPPED = [
    ("optuna_clip_lit", "clip_lit"),
    ("optuna_clip_lit", "quickstart"),
    ("optuna_clip_restorex", "clip_restorex_small"),
    ("optuna_clip_restorex", "clip_restorex_lcdp"),
]


@pytest.fixture(autouse=True)
def _composing() -> Iterator[None]:
    with configurations():
        yield


def settings_of(cfg: DictConfig, **changes: Any) -> SweepSettings:
    node: Any = OmegaConf.to_container(cfg.hydra.sweeper)
    known = {key: value for key, value in node.items() if not key.startswith("_") and key != "params"}
    return SweepSettings(**{**known, **changes})


@pytest.mark.parametrize(("sweep", "experiment"), SHIPPED)
def test_shipped_spaces_reach_the_run(sweep: str, experiment: str) -> None:
    given = [f"experiment={experiment}", f"sweep={sweep}", "validate_every=10"]
    cfg = composed(*given)
    assert cfg.hydra.mode.name == "MULTIRUN"
    written = [f"{key}={value}" for key, value in cfg.hydra.sweeper.params.items()]
    space = read_space(OverridesParser.create().parse_overrides(written))
    assert len(space.searched) >= 3
    check_keys(cfg, space.searched)
    assert check_monitor(cfg) == "val/psnr"
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    run = composed(*given, *space.overrides(trial))
    for key, among in space.searched.items():
        value = OmegaConf.select(run, key)
        assert as_text(value) == as_text(suggest(trial, key, among))
        if isinstance(among, FloatDistribution):
            # what it is by default, at the paper's size or a laptop's, can be found
            assert among.low <= OmegaConf.select(cfg, key) <= among.high, key


def test_sampler_and_pruner_are_built_as_they_are_written() -> None:
    sweeper = composed("experiment=quickstart", "sweep=optuna").hydra.sweeper
    assert isinstance(instantiate(sweeper.sampler, _convert_="all"), optuna.samplers.TPESampler)
    assert isinstance(instantiate(sweeper.pruner, _convert_="all"), optuna.pruners.MedianPruner)


def test_directories_are_named_by_the_number_of_the_run() -> None:
    cfg = composed("experiment=quickstart", "sweep=optuna", "name=other", "hydra.job.num=3")
    assert (cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir) == ("runs", "other/3")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("stage.enhancement.module.optimizer.lrr", "Did you mean lr?"),
        ("stage.enhancment.module.optimizer.lr", "Did you mean enhancement?"),
        ("seed.x", "seed.x: no such key"),
        ("stage.prompt_refinement.module.prompts.context", "prompts repeats another node"),
    ],
)
def test_keys_that_no_run_would_read_are_refused(key: str, expected: str) -> None:
    cfg = composed("experiment=clip_lit", "sweep=optuna")
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")) as found:
        check_keys(cfg, [key])
    assert expected in str(found.value)


def test_groups_and_added_keys_can_be_searched() -> None:
    check_keys(
        composed("experiment=clip_lit", "sweep=optuna"), ["ablation", "+trainer.gradient_clip_val", "seed"]
    )


@pytest.mark.parametrize("keys", [["seed"], ["seed", "lr", "rounds"]])
def test_a_grid_must_have_the_keys_that_are_searched(keys: list[str]) -> None:
    grid = {"_target_": "optuna.samplers.GridSampler", "search_space": {key: [1, 2] for key in keys}}
    with pytest.raises(ConfigurationError, match="searched lr, seed"):
        check_grid(grid, ["seed", "lr"])
    check_grid(grid, keys)
    check_grid({"_target_": "optuna.samplers.TPESampler"}, keys)


def test_what_is_optimised_must_be_measured() -> None:
    cfg = composed("experiment=quickstart", "sweep=optuna")
    with pytest.raises(ConfigurationError, match="validate_every"):
        check_monitor(cfg)
    # the longest stages of the quickstart have 150 steps
    with pytest.raises(ConfigurationError, match="validate_every"):
        check_monitor(composed("experiment=quickstart", "sweep=optuna", "validate_every=151"))
    assert (
        check_monitor(composed("experiment=quickstart", "sweep=optuna", "validate_every=150")) == "val/psnr"
    )
    assert check_monitor(composed("experiment=quickstart", "sweep=optuna", "monitor=psnr")) == "psnr"
    with pytest.raises(ConfigurationError, match=r"monitor=val/psnr"):
        check_monitor(composed("experiment=quickstart", "sweep=optuna", "monitor=null"))


@pytest.mark.parametrize("method", ["clip_lit", "clip_restorex"])
def test_a_metric_of_the_end_needs_something_that_measures_there(method: str) -> None:
    """The spaces that come with Relit leave the test photographs alone."""
    experiment = {"clip_lit": "clip_lit", "clip_restorex": "clip_restorex_lcdp"}[method]
    given = [f"experiment={experiment}", "monitor=psnr"]
    with pytest.raises(ConfigurationError, match=r"save_weights.*sweep=optuna, which keeps"):
        check_monitor(composed(*given, f"sweep=optuna_{method}"))
    assert check_monitor(composed(*given, "sweep=optuna")) == "psnr"


def test_workers_agree_on_what_is_not_searched() -> None:
    given = ["experiment=quickstart", "sweep=optuna"]
    searched = ["stage.enhancement.module.optimizer.lr", "data.size", "+trainer.gradient_clip_val"]
    one = common_settings(composed(*given), searched)
    assert one == common_settings(composed(*given, "data.size=64", "threads=3", "logger=none"), searched)
    other = common_settings(composed(*given, "seed=5", "data.batch_size=3"), searched)
    assert {key for key in one if one[key] != other[key]} == {"seed", "data.seed", "data.batch_size"}
    assert not [key for key in one if "hydra" in key or key.startswith("data.size")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"runs": 0}, "hydra.sweeper.runs: expected a whole number >= 1, found 0"),
        ({"reruns": -1}, "hydra.sweeper.reruns"),
        ({"heartbeat": 0.5}, "hydra.sweeper.heartbeat"),
        ({"grace": 30}, "must be longer than hydra.sweeper.heartbeat=30"),
        ({"direction": "up"}, "must be maximize or minimize"),
    ],
)
def test_settings_that_can_not_work_are_named(changes: dict[str, Any], expected: str) -> None:
    cfg = composed("experiment=quickstart", "sweep=optuna")
    settings_of(cfg)
    with pytest.raises(ConfigurationError) as found:
        settings_of(cfg, **changes)
    assert expected in str(found.value)


def test_the_sweeper_takes_every_key_of_its_configuration() -> None:
    from hydra_plugins.relit_sweeper import OptunaSweeper

    node = composed("experiment=clip_lit", "sweep=optuna_clip_lit", "validate_every=10").hydra.sweeper
    sweeper = instantiate(node, _target_=OptunaSweeper)
    SweepSettings(**sweeper.settings)
    assert sweeper.params.keys() == node.params.keys()
    with pytest.raises(TypeError, match="typo"):
        SweepSettings(**instantiate(node, _target_=OptunaSweeper, typo=1).settings)


class Recorder(Launcher):
    """Keeps what it is to launch, and has all runs end with a figure."""

    def __init__(self) -> None:
        self.launched: list[list[str]] = []

    def setup(self, **context: Any) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.launched += [list(overrides) for overrides in job_overrides]
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=1.0)]


def swept(tmp_path: Path, storage: str) -> tuple[DictConfig, list[list[str]]]:
    """The configuration of a study of one run with its database at ``storage``, and what was launched."""
    given = ["experiment=quickstart", "sweep=optuna", "monitor=psnr", f"runs={tmp_path}"]
    cfg = composed(*given, f"hydra.sweeper.storage={storage}", "hydra.sweeper.runs=1")
    launcher = Recorder()
    sweep(cfg, settings_of(cfg), ["seed=range(0,9)"], None, launcher)  # type: ignore[arg-type]
    return cfg, launcher.launched


def test_the_address_of_the_database_does_not_travel_with_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that of PostgreSQL, which may have a password; here a folder has the name that is to be kept."""
    url = f"sqlite:///{tmp_path}/hush/study.db"
    monkeypatch.setenv("RELIT_STORAGE", url)
    cfg, launched = swept(tmp_path, "${oc.env:RELIT_STORAGE}")
    assert len(launched) == 1
    assert "hush" not in str(launched)
    # what submitit pickles, and Hydra writes where it is told to
    assert "hush" not in OmegaConf.to_yaml(cfg)
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err
    # and yet both open the same database
    assert database(cfg.hydra, cfg.name) == url
    assert len(optuna.load_study(study_name=cfg.name, storage=url).trials) == 1


def test_worker_and_run_agree_on_the_database_that_is_nowhere_named(tmp_path: Path) -> None:
    cfg, _ = swept(tmp_path, "null")
    url = f"sqlite:///{tmp_path}/quickstart/study.db"
    assert database(cfg.hydra, cfg.name) == url
    assert len(optuna.load_study(study_name="quickstart", storage=url).trials) == 1


def test_a_password_that_is_written_out_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # no such driver: it is not opened
    url = "mysql+nodriver://me:secret@host/db"
    monkeypatch.setenv("RELIT_STORAGE", url)

    def warned(storage: str) -> str:
        caplog.clear()
        with pytest.raises(ConfigurationError) as refused:
            swept(Path("nowhere"), storage)
        return caplog.text + str(refused.value)

    assert "RELIT_STORAGE" in (said := warned(url))
    assert "secret" not in said
    assert "RELIT_STORAGE" not in warned("${oc.env:RELIT_STORAGE}")
    assert "RELIT_STORAGE" not in warned("mysql+nodriver://me@host/db")
