"""Makes :mod:`relit.sweep` known to Hydra, which looks for sweepers in packages of this name only.

Hydra reads this file at every start, so what is heavy stands inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """One worker of an Optuna study; ``conf/hydra/sweeper/relit_optuna.yaml`` explains its settings."""

    def __init__(self, params: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self.params, self.settings = dict(params or {}), settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what :meth:`sweep` needs."""
        # names may be made from Hydra's choices
        HydraConfig.instance().set_config(config)
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Take trials until the study has all its runs.

        Args:
            arguments: the command line's overrides.
        """
        from relit.sweep.sweeper import SweepSettings, sweep

        given = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        settings = SweepSettings(**self.settings)
        sweep(self.config, settings, given, self.hydra_context.config_loader, self.launcher)
