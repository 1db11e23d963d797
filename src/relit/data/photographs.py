"""The natural colour photographs that come with scikit-image, scikit-learn and matplotlib.

They are read from the installed packages, so nothing is downloaded and nothing is copied. Seven scenes are
few: results on them show that the machinery works, not how good a method is. Each scene has exactly one role,
so that inputs, unpaired references and test scenes never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from relit.errors import ConfigurationError

Role = Literal["input", "reference", "test"]


@dataclass(frozen=True)
class Photograph:
    """One bundled photograph: which package ships it, under which licence, and what it may be used for."""

    name: str
    package: str
    file: str
    licence: str
    role: Role

    def path(self) -> Path:
        """Where the file lies on this machine.

        Raises:
            ConfigurationError: the package is not installed or ships the file no more.
        """
        spec = find_spec(self.package)
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigurationError(
                f"The sample scene '{self.name}' comes with {self.package}, which is not installed. "
                "Install it, or use your own photos: data=folders."
            )
        path = Path(spec.submodule_search_locations[0]) / self.file
        if not path.is_file():
            raise ConfigurationError(
                f"The sample scene '{self.name}' is missing: {path}. Install the pinned versions of "
                "requirements.txt, or use your own photos: data=folders."
            )
        return path


PHOTOGRAPHS = (
    Photograph("coffee", "skimage", "data/coffee.png", "CC0", "input"),
    Photograph(
        "grace_hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "public domain", "input"
    ),
    Photograph("astronaut", "skimage", "data/astronaut.png", "public domain", "reference"),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", "CC BY 2.0, vultilion", "reference"),
    Photograph("chelsea", "skimage", "data/chelsea.png", "CC0", "test"),
    Photograph("china", "sklearn", "datasets/images/china.jpg", "CC BY 2.0, danielbuechele", "test"),
    Photograph("motorcycle", "skimage", "data/motorcycle_left.png", "Middlebury 2014", "test"),
)
"""Bundled scenes by role. (scikit-image's night-time ``rocket`` is left out: it is no well-lit reference.)"""


def photographs(role: Role) -> list[Photograph]:
    """The bundled photographs of one role, in a fixed order."""
    return [photograph for photograph in PHOTOGRAPHS if photograph.role == role]
