"""The Hydra callback that turns a sweep over an ablation's rows into one table.

The experiments in ``conf/experiment/ablation`` name it under ``hydra.callbacks``, with the paper's figures.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from relit.ablation_table import DECIMALS, PaperRow, Run, as_text, name_of, tabulate
from relit.atomic import atomic_write
from relit.errors import ConfigurationError
from relit.failed_job import TRACEBACK_FILE, failure_reason

log = logging.getLogger(__name__)


def folder_name(value: str | Sequence[str]) -> str:
    """A name for the run on photographs of one or several folders: ``a/b`` and ``c`` give ``a-b+c``."""
    folders = [value] if isinstance(value, str) else value
    return "+".join(re.sub(r"[^\w.]+", "-", str(folder)).strip("-.") for folder in folders)


# for hydra.sweep.subdir, which Hydra resolves after it has made its callbacks
OmegaConf.register_new_resolver("relit.folder_name", folder_name, replace=True)


class AblationTable(Callback):
    """Collects the runs of a sweep in ``table.md`` and ``table.json`` in its folder and prints the table.

    The files grow with every run. A run that fails makes its row a failed one and the sweep goes on. At its
    end the exit status is 2 if all that failed were mistakes in the configuration, otherwise 1; failures of
    other kinds leave their traceback in the run's directory.

    Args:
        title: of the table.
        by: what the rows differ in: a configuration group or a key.
        tested_on: the data set whose test photographs the paper's figures are of.
        rows: the paper's, ``{id: {label, psnr, ssim, value}}``; ``value`` is what ``by`` is there, the id if
            it is left out.
    """

    def __init__(self, title: str, by: str, tested_on: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self.title, self.by, self.tested_on = title, by, tested_on
        self.paper = [PaperRow(**{"value": name, **row}) for name, row in rows.items()]
        self.runs: list[Run] = []
        self.status = 0

    def value_of(self, config: DictConfig) -> Any:
        """What ``by`` is in a composed run: the row it belongs to."""
        choices = config.hydra.runtime.choices
        if self.by in choices:
            return choices[self.by]
        value = OmegaConf.select(config, self.by)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep Hydra from repeating all overrides before each run."""
        logging.getLogger("hydra").setLevel(logging.WARNING)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say which run begins."""
        name = name_of(self.value_of(config), self.paper)
        log.info("\n%s, seed %s: %s", name, config.seed, config.run_dir)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Take in the run and write the table as far as it has grown."""
        self.runs.append(self._run(config, job_return))
        # a failed job would make Hydra end the sweep with its traceback, without a table
        job_return.status, job_return.return_value = JobStatus.COMPLETED, None
        table = self._table()
        folder = Path(config.hydra.sweep.dir)
        atomic_write(folder / "table.json", (json.dumps(table, indent=2, allow_nan=False) + "\n").encode())
        atomic_write(folder / "table.md", as_text(table).encode())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table, and end with the status of what failed."""
        print(f"\n{as_text(self._table())}")
        print(f"Table: {config.hydra.sweep.dir}/table.md  Figures: {config.hydra.sweep.dir}/table.json")
        if self.status:
            raise SystemExit(self.status)

    def _table(self) -> dict[str, Any]:
        return tabulate(self.title, self.tested_on, self.paper, self.runs)

    def _run(self, config: DictConfig, job: JobReturn) -> Run:
        value, run_dir = self.value_of(config), Path(config.run_dir)
        (run_dir / TRACEBACK_FILE).unlink(missing_ok=True)
        if job.status is JobStatus.FAILED:
            # not by its property, which prints a line of Hydra's
            return Run(value, config.seed, failure=self._failure(job._return_value, run_dir))
        try:
            metrics = json.loads((run_dir / "metrics.json").read_text())
        except (OSError, ValueError) as error:
            return Run(value, config.seed, failure=self._failure(error, run_dir))
        measured = metrics.get("result", {})
        figures = {name: measured[name] for name in DECIMALS if measured.get(name) is not None}
        return Run(value, config.seed, figures, _setting(metrics, config.hydra.runtime.choices))

    def _failure(self, error: Exception, run_dir: Path) -> str:
        """Note the failure for the exit status; return its reason in one line."""
        self.status = (self.status or 2) if isinstance(error, ConfigurationError) else 1
        return failure_reason(error, run_dir)


def _setting(metrics: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """By what recipe, on which photographs and with what means a run's figures came about."""
    protocol = metrics.get("protocol", {})
    setting = {
        "protocol": protocol.get("name"),
        "test_size": protocol.get("test_size"),
        "photographs": f"{metrics.get('images')} ({metrics.get('data')})",
        **{group: choices.get(group) for group in ("data", "clip", "budget")},
        "steps": metrics.get("steps"),
    }
    return {name: value for name, value in setting.items() if value is not None}
