"""The figures that ``relit figure`` draws, by name: what each shows, and of which runs.

The function of a figure has the name of its module: :func:`relit.figure.losses.losses`. Modules are loaded
when they are needed, for the command's help must answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from relit.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relit.figure.foot import Measured

CLIP_LIT, CLIP_RESTOREX = "CLIP-LIT", "CLIP-RestoreX"
"""Names of methods, as reports have them."""


@dataclass(frozen=True)
class Known:
    """What is known of a figure before it is drawn.

    Attributes:
        shows: what, in a line.
        method: whose runs it can be drawn of; None for any.
        several: whether it takes several runs.
        options: keywords of its function.
        measured: what its numbers are, for the protocol at its foot; None where it shows none.
    """

    shows: str
    method: str | None = None
    several: bool = False
    options: tuple[str, ...] = ()
    measured: Measured | None = None


FIGURES: dict[str, Known] = {
    "losses": Known("loss curves of each stage; several runs, such as seeds, in one", several=True),
    "scores": Known(
        "Fig. 2: scores of photographs under worded prompts and the learned ones",
        CLIP_LIT,
        options=("photos",),
        measured="S",
    ),
    "relevance": Known(
        "Fig. 6: which regions the learned negative prompt answers to, round by round (ViT)",
        CLIP_LIT,
        options=("photos",),
    ),
    "rounds": Known("Fig. 7: results round by round", CLIP_LIT, options=("photos",), measured="PSNR"),
    "luminance": Known(
        "Fig. 10: scores of photographs that grow lighter step by step",
        CLIP_LIT,
        options=("photos",),
        measured="S",
    ),
    "distribution": Known(
        "Fig. 12: how scores of backlit and well-lit photographs are spread, learned and worded prompts",
        CLIP_LIT,
        measured="S",
    ),
    "references": Known(
        "Fig. 13: results of runs with other references side by side",
        CLIP_LIT,
        several=True,
        options=("photos",),
        measured="PSNR",
    ),
    "illumination": Known(
        "illumination maps, alone and over their photographs", CLIP_LIT, options=("photos",)
    ),
    "blocks": Known(
        "Fig. 5: results of runs with priors of other blocks side by side",
        CLIP_RESTOREX,
        several=True,
        options=("photos",),
        measured="PSNR",
    ),
    "tsne": Known("Fig. 6: t-SNE of CLIP's blocks, badly and normally exposed photographs", CLIP_RESTOREX),
    "distance": Known(
        "Fig. 7: how far exposure moves the features of each block, CLIP and an ImageNet ViT",
        CLIP_RESTOREX,
        options=("imagenet",),
    ),
}
"""By the names that ``relit figure`` takes."""


def draw(name: str, runs: Sequence[Path], **options: Any) -> Figure:
    """Draw the figure ``name`` of ``runs``, with what it is of at its foot.

    Args:
        name: one of :data:`FIGURES`.
        runs: run directories.
        options: keywords of the figure's function; None stands for what is not given.

    Raises:
        ConfigurationError: too many runs, a run of another method, an option of another figure, or whatever
            the figure itself refuses.
    """
    from relit.figure.foot import add_foot

    known = FIGURES[name]
    given = {key: value for key, value in options.items() if value is not None}
    for key in given.keys() - set(known.options):
        takers = [other for other, its in FIGURES.items() if key in its.options]
        raise ConfigurationError(
            f"{name} takes no {_flag(key)}; {', '.join(takers)} {'does' if len(takers) == 1 else 'do'}. "
            "Leave it out."
        )
    if len(runs) > 1 and not known.several:
        several = ", ".join(other for other, its in FIGURES.items() if its.several)
        raise ConfigurationError(
            f"{name} is drawn of one run, and {len(runs)} are given. Of several: {several}."
        )
    if known.method is not None:
        for run in runs:
            _check_method(name, known.method, run)
    function = getattr(import_module(f"relit.figure.{name}"), name)
    figure = cast("Figure", function(runs if known.several else runs[0], **given))
    add_foot(figure, runs, known.measured)
    return figure


def _flag(key: str) -> str:
    return {"photos": "--photo"}.get(key, f"--{key}")


def _check_method(name: str, method: str, run: Path) -> None:
    from relit.report.run import METHODS, method_of, read_config

    found = method_of(read_config(run))
    if found == method:
        return
    its = ", ".join(other for other, known in FIGURES.items() if known.method in (None, found))
    what = found if found in METHODS.values() else "another method"
    raise ConfigurationError(
        f"{run}: is a run of {what}, and {name} is a figure of {method}. Of this run can be drawn: {its}."
    )
