"""The page at the end of a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relit.errors import ConfigurationError
from relit.report.page import PAGE_FILE, write_page
from relit.report.run import CONFIG_FILE

if TYPE_CHECKING:
    from relit.run_context import RunContext

log = logging.getLogger(__name__)


def write_report(context: RunContext) -> None:
    """Write ``report.html`` into the run directory, of what is there by now: the last of ``finish``.

    Rank 0 writes it; where it can't, that is a warning, for the run itself is done. With ``train=false`` and
    weights from elsewhere there is no run to write about.
    """
    if context.rank != 0 or not (context.run_dir / CONFIG_FILE).is_file():
        return
    output = context.run_dir / PAGE_FILE
    try:
        write_page([context.run_dir], output)
    except ConfigurationError as error:
        log.warning("No report: %s", error)
    else:
        log.info("Report: %s", output)
