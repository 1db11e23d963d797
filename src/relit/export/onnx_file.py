"""Programs as ``.onnx``, run by ONNX Runtime and others."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.export import ExportedProgram

from relit.errors import ConfigurationError
from relit.export.description import INPUT, OUTPUT

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_packages() -> None:
    """Find out before the work whether all packages are there.

    Raises:
        ConfigurationError: one is not.
    """
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigurationError(
                f"ONNX files need the package {name}, which is not installed. Use pip install "
                '-e ".[export]", or give a name that ends in .pt2.'
            ) from error


def serialised(program: ExportedProgram, description: Mapping[str, str]) -> bytes:
    """The file, with its description as the model's metadata."""
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={INPUT: {0: "batch", 2: "height", 3: "width"}},
    )
    assert exported is not None
    exported.model.metadata_props.update(description)
    return exported.model_proto.SerializeToString()


def loaded(content: bytes) -> Callable[[Tensor], Tensor]:
    """The function in a file, run by ONNX Runtime on the CPU."""
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(photographs: Tensor) -> Tensor:
        (results,) = session.run([OUTPUT], {INPUT: photographs.numpy()})
        return torch.from_numpy(results)

    return run
