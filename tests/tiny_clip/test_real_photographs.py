"""What the embedded CLIP says about light holds for real photographs, of scenes it never saw."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.losses import negative_similarity
from relit.clip_lit.prompts import PromptPair
from relit.clip_loading import load_clip
from relit.data.photo import read_photo, resize_photo
from relit.stages import run_stages
from relit.tiny_clip.architecture import VISION
from relit.weights import read_weights

pytestmark = pytest.mark.slow

CONF = Path(__file__).resolve().parents[2] / "conf"
ENOUGH = 0.85
"""Balanced accuracy on 30 scenes in two exposures; guessing gives a half."""

Pictures = Callable[[str, str], Tensor]


@pytest.fixture(scope="module")
def pictures(shared: Path) -> Pictures:
    """Photographs of a split ("train", "test") in an exposure ("low", "mid", "over"), (N, 3, 256, 256)."""
    loaded: dict[tuple[str, str], Tensor] = {}

    def of(split: str, exposure: str) -> Tensor:
        if (split, exposure) not in loaded:
            paths = sorted((shared / "photos" / "SICEV2" / split / exposure).iterdir())
            assert len(paths) == {"train": 120, "test": 30}[split]
            loaded[split, exposure] = torch.stack([resize_photo(read_photo(path), 256) for path in paths])
        return loaded[split, exposure]

    return of


@torch.no_grad()
def features(clip: FrozenClip, images: Tensor) -> Tensor:
    return torch.cat([clip.encode_image(part.float() / 255) for part in images.split(30)])


def report(what: str, wrong: Tensor, right: Tensor) -> float:
    """Balanced accuracy of a judge that says ``wrong`` (bool) of badly lit photos, ``right`` of others."""
    truth = [1] * len(wrong) + [0] * len(right)
    accuracy = float(balanced_accuracy_score(truth, torch.cat([wrong, right]).int().numpy()))
    print(f"{what}: balanced accuracy {accuracy:.3f}")
    return accuracy


@pytest.mark.parametrize("tower", list(VISION))
@pytest.mark.parametrize("exposure", ["low", "over"])
def test_a_linear_probe_tells_exposures_apart(pictures: Pictures, tower: str, exposure: str) -> None:
    clip = load_clip(tower, "embedded")
    of = {
        (split, name): features(clip, pictures(split, name))
        for split in ("train", "test")
        for name in (exposure, "mid")
    }
    probe = LogisticRegression(C=1, max_iter=2000)
    probe.fit(torch.cat([of["train", exposure], of["train", "mid"]]).numpy(), [1] * 120 + [0] * 120)
    wrong, right = (
        torch.from_numpy(probe.predict(of["test", name].numpy()) == 1) for name in (exposure, "mid")
    )
    assert report(f"{tower}, logistic regression, {exposure} against mid", wrong, right) >= ENOUGH


@pytest.mark.parametrize("tower", list(VISION))
def test_two_phrases_tell_dark_from_well_lit(pictures: Pictures, tower: str) -> None:
    clip = load_clip(tower, "embedded")
    text = clip.encode_text(["dark", "well lit"])
    wrong, right = (
        (features(clip, pictures("test", name)) @ text.T).argmax(1) == 0 for name in ("low", "mid")
    )
    assert report(f"{tower}, 'dark' against 'well lit', low against mid", wrong, right) >= ENOUGH


def test_a_learned_prompt_pair_tells_dark_from_well_lit(
    pictures: Pictures, shared: Path, tmp_path: Path
) -> None:
    """Prompt initialisation as a laptop runs it, on dark photographs and well-lit ones of other scenes."""
    run_dir = tmp_path / "prompts"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "experiment=clip_lit",
                "clip=tiny",
                "budget=laptop",
                "data=folders",
                "trainer=cpu",
                "logger=none",
                "progress=false",
                f"data.backlit={shared / 'photos' / 'SICEV2' / 'train' / 'low'}",
                f"data.well_lit={shared / 'photos' / 'well_lit'}",
                "plan=[prompt_initialisation]",
                "finish=[]",
                "name=prompts",
                f"runs={tmp_path}",
                f"run_dir={run_dir}",
            ],
        )
    assert cfg.stage.prompt_initialisation.module.logit_scale == 20
    run_stages(cfg)
    weights = read_weights(run_dir / "stages" / "1-prompt_initialisation" / "weights.safetensors")[0]
    clip = load_clip(cfg.clip.prompts.model, "embedded")
    pair = PromptPair(clip, generator=torch.Generator())
    pair.load(weights["prompts"])
    with torch.no_grad():
        score = partial(negative_similarity, text=pair(clip), logit_scale=20)
        wrong, right = (score(features(clip, pictures("test", name))) > 0.5 for name in ("low", "mid"))
    assert report(f"{cfg.clip.prompts.model}, learned prompts, low against mid", wrong, right) >= ENOUGH
