"""The page at the end of a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relit.report.page import PAGE_FILE, write_page

if TYPE_CHECKING:
    from relit.stages import RunContext

log = logging.getLogger(__name__)


def write_report(context: RunContext) -> None:
    """Write ``report.html`` into the run directory, of what is there by now: the last of ``finish``."""
    output = context.run_dir / PAGE_FILE
    write_page([context.run_dir], output)
    log.info("Report: %s", output)
