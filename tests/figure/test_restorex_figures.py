"""CLIP-RestoreX's figures show what can be recomputed from the run by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from restorex_run import restorex_run
from safetensors.torch import save_file
from torch import Tensor

from relit import imagenet, load
from relit.clip_loading import load_clip
from relit.errors import ConfigurationError
from relit.figure import distance as distance_module
from relit.figure.blocks import blocks
from relit.figure.distance import EVS, distance, relative_distances
from relit.figure.finished import open_finished
from relit.figure.luminance import exposed
from relit.figure.paired_photographs import training_scenes
from relit.figure.tsne import neighbours_agree, tsne


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return restorex_run(tmp_path_factory.mktemp("restorex") / "spread", "data.crops=8", "data.procedural=4")


def features(images: Tensor) -> Tensor:
    """Class tokens of blocks 1, 3, 7, 11 of the embedded ViT, (B, 4, 96)."""
    with torch.no_grad():
        return torch.stack(load_clip("tiny-ViT", "embedded").block_features(images, (1, 3, 7, 11)), dim=1)


def test_runs_correct_the_same_photographs_under_the_names_of_their_blocks(run: Path, tmp_path: Path) -> None:
    other = restorex_run(tmp_path / "other", "ablation=restorex_blocks_shallow", seed=1)
    figure = blocks([run, other], ["chelsea"])
    heads = [panel.get_title() for panel in figure.axes]
    assert heads == ["input", "spread\nblocks 3-6-9-12", "other\nblocks 1-2-3-4", "reference"]
    shown = [np.asarray(panel.get_images()[0].get_array()) for panel in figure.axes]
    for place, folder in ((1, run), (2, other)):
        result = load(folder / "weights.safetensors", device="cpu")(shown[0].astype(np.float32))
        assert np.allclose(shown[place], result, atol=1e-4)
    assert not np.allclose(shown[1], shown[2], atol=1e-2)


def test_scenes_are_told_by_their_reference(run: Path) -> None:
    scenes = list(training_scenes(open_finished(run)))
    numbers = [number for number, *_ in scenes]
    assert numbers == list(range(24))
    assert all(new for *_, new in scenes)


def test_each_panel_has_a_point_for_every_photograph_of_another_scene(run: Path) -> None:
    figure = tsne(run)
    assert [panel.get_title() for panel in figure.axes] == ["block 1", "block 3", "block 7", "block 11"]
    scenes = list(training_scenes(open_finished(run)))
    shown = [bad if number % 2 == 0 else good for number, bad, good, _ in scenes]
    kinds = np.array([number % 2 == 0 for number, *_ in scenes])
    every = features(torch.cat(shown)).numpy()
    for place, panel in enumerate(figure.axes):
        assert [len(points.get_offsets()) for points in panel.collections] == [12, 12]
        found = every[:, place]
        apart = ((found[:, None] - found[None]) ** 2).sum(axis=2) + np.diag([np.inf] * 24)
        share = (kinds[apart.argmin(axis=1)] == kinds).mean()
        assert panel.get_xlabel() == f"nearest neighbour of the same kind: {share:.0%}"


def test_neighbours_agree_where_kinds_lie_apart() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    assert neighbours_agree(points, np.array([True, True, False, False])) == 1
    assert neighbours_agree(points, np.array([True, False, True, False])) == 0


def test_distances_are_in_units_of_those_between_scenes() -> None:
    """Scenes stand at 0, 3 and 6: 4 apart on average. Exposure moves each by 2 |EV|, whatever the scale."""
    scenes = torch.tensor([0.0, 3.0, 6.0])[:, None, None, None].expand(3, 5, 1, 2).clone()
    scenes[..., 1] = 2 * torch.tensor(EVS)[None, :, None]
    expected = [0.75, 0.5, 0, 0.5, 0.75]
    for scale in (1, 10):
        assert relative_distances(scale * scenes)[0].tolist() == pytest.approx(expected)


def test_lines_are_the_distances_of_each_block_and_tower(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    monkeypatch.setattr(distance_module, "_MODEL", "vit_tiny_patch16_224")
    monkeypatch.setattr(distance_module, "_SCENES", 3)
    ours, control = distance(run, str(tmp_path / "vit.safetensors")).axes
    assert ours.get_title() == "tiny-ViT (embedded)"
    assert control.get_title() == "vit_tiny_patch16_224 (vit.safetensors)"
    scenes = [good for number, _, good, _ in training_scenes(open_finished(run)) if number < 3]
    expected = relative_distances(torch.stack([features(exposed(scene, EVS)) for scene in scenes]))
    assert np.allclose([line.get_ydata() for line in ours.get_lines()], expected, rtol=1e-3)
    labels = [line.get_label() for line in control.get_lines()]
    assert labels == ["block 1", "block 3", "block 7", "block 11"]
    assert all(line.get_ydata()[2] == 0 for line in control.get_lines())


def test_without_imagenets_weights_nothing_is_drawn_but_where_they_are_not_wanted(run: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'no/such/file\.safetensors' is neither a file nor"):
        distance(run, "no/such/file.safetensors")
    assert len(distance(run, "none").axes) == 1


@pytest.mark.parametrize("weights", ["missing", "damaged", "out of reach"])
def test_the_remedy_for_missing_imagenet_weights_is_an_option_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    def unreachable(*_: object) -> None:
        raise OSError("no network\nof any kind")

    monkeypatch.setattr(imagenet, "check_reach", unreachable)
    if weights == "damaged":  # a small network is built to read it
        monkeypatch.setattr(distance_module, "_MODEL", "vit_tiny_patch16_224")
    (tmp_path / "damaged").write_bytes(b"no weights")
    with pytest.raises(ConfigurationError) as caught:
        distance(tmp_path, None if weights == "out of reach" else str(tmp_path / weights))
    said = str(caught.value)
    assert said.splitlines()[1].startswith("One with random weights would say nothing.")
    assert said.endswith("with --imagenet FILE, or leave it out with --imagenet none.")
    assert "clip.prior" not in said


def test_a_run_without_a_clip_for_priors_is_told(tmp_path: Path) -> None:
    run = restorex_run(tmp_path / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("  prior:\n", "  sap_only:\n"))
    with pytest.raises(ConfigurationError, match=r"names no clip\.prior"):
        tsne(run)
