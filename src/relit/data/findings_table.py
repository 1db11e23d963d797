"""The report of a verification as text."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from relit.data.rows import Finding
from relit.data.verify import Report

_EXAMPLES = 3


def findings_table(report: Report) -> str:
    """How many photographs there are, what was found, by kind, with a few examples, and a verdict."""
    blocks = [f"{report.title} ({report.name}) in {report.home}", _counts_table(report)]
    if report.findings:
        blocks.append(_findings(report))
    blocks.append(verdict(report))
    return "\n\n".join(blocks)


def verdict(report: Report) -> str:
    """One line: whether there are faults, and how closely was looked."""
    faults, notices = len(report.faults), len(report.findings) - len(report.faults)
    found = f"{_number(faults, 'fault')}, {_number(notices, 'notice')}"
    looked = "every photograph was decoded" if report.deep else "headers only, no photograph was decoded"
    return f"{report.name}: {'FAULTY' if faults else 'no fault'} ({found}; {looked})"


def _counts_table(report: Report) -> str:
    rows = [("split", "found", "published")]
    for split, (found, published) in report.counts.items():
        rows.append((split, f"{found:,}", "-" if published is None else f"{published:,}"))
    return "\n".join(f"{split:<10}  {found:>9}  {published:>9}" for split, found, published in rows)


def _findings(report: Report) -> str:
    lines = [f"{'finding':<10}  {'':<6}  {'times':>5}  such as"]
    for (kind, fault), group in groupby(report.findings, key=lambda one: (one.kind, one.fault)):
        found = list(group)
        examples = [_example(one, report.home) for one in found[:_EXAMPLES]]
        if len(found) > _EXAMPLES:
            examples.append(f"and {len(found) - _EXAMPLES} more")
        head = f"{kind:<10}  {'fault' if fault else 'notice':<6}  {len(found):>5}  "
        lines.append(head + examples[0])
        lines.extend(" " * len(head) + example for example in examples[1:])
    return "\n".join(lines)


def _example(finding: Finding, home: Path) -> str:
    where = Path(finding.where)
    place = where.relative_to(home) if where.is_relative_to(home) else where
    return f"{place}: {finding.message}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
