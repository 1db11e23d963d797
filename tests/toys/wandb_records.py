"""What offline W&B wrote: the records of a ``.wandb`` file, a log in LevelDB's format of protocol buffers."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

FILE_HEADER = 7
BLOCK = 32768
RECORD_HEADER = struct.Struct("<IHB")  # checksum, length, part
WHOLE, LAST = 1, 4


@dataclass
class Segment:
    """One offline run, as it was written.

    Attributes:
        run: id, group, job type ... of the run.
        config: key -> value.
        history: rows of logged metrics, in order.
        artifacts: name -> aliases in alphabetical order, metadata and files of each logged artifact.
        preempting: whether it was said to be taken away before its end.
        exit_code: what the run was finished with; None if it was not.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    preempting: bool = False
    exit_code: int | None = None


def finished_segment(folder: Path, seconds: float = 60) -> Segment:
    """:func:`read_segment` once W&B's own process, which outlives ``finish``, has written the end."""
    end = time.monotonic() + seconds
    while (segment := read_segment(folder)).exit_code is None and time.monotonic() < end:
        time.sleep(0.1)
    return segment


def read_segment(folder: Path) -> Segment:
    """The records of the ``.wandb`` file in ``folder``, as far as it is written."""
    (file,) = folder.glob("*.wandb")
    segment = Segment()
    for record in records(file.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            segment.run = record.run
            _update(segment.config, record.run.config)
        elif kind == "config":
            _update(segment.config, record.config)
        elif kind == "history":
            items = record.history.item
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            segment.history.append(row)
        elif kind == "artifact":
            _note_artifact(segment, record.artifact)
        elif kind == "exit":
            segment.exit_code = record.exit.exit_code
        elif kind == "preempting":
            segment.preempting = True
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            _note_artifact(segment, record.request.log_artifact.artifact)
    return segment


def records(content: bytes) -> Iterator[Record]:
    """Every record of a file; a part that was cut off at the end is left out."""
    place, parts = FILE_HEADER, b""
    while place + RECORD_HEADER.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < RECORD_HEADER.size:
            place += left
            continue
        _, length, part = RECORD_HEADER.unpack_from(content, place)
        place += RECORD_HEADER.size
        parts += content[place : place + length]
        place += length
        if part in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def _update(config: dict[str, Any], record: Any) -> None:
    for item in record.update:
        config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)


def _note_artifact(segment: Segment, artifact: Any) -> None:
    segment.artifacts[artifact.name] = {
        "type": artifact.type,
        "aliases": sorted(artifact.aliases),
        "metadata": json.loads(artifact.metadata or "{}"),
        "files": [entry.path for entry in artifact.manifest.contents],
    }
