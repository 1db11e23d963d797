"""CLIP-LIT's figures show what can be recomputed from the run by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lit_run import SCALE, enhancer, lit_run
from matplotlib.figure import Figure
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.prompts import PromptPair
from relit.clip_loading import load_clip
from relit.data.photo import write_png
from relit.data.sample import SamplePhotos
from relit.errors import ConfigurationError
from relit.figure.distribution import distribution
from relit.figure.illumination import illumination
from relit.figure.luminance import LEVELS, exposed, luminance
from relit.figure.references import references
from relit.figure.relevance import relevance
from relit.figure.rounds import rounds
from relit.figure.scores import scores
from relit.keyed import keyed_generator
from relit.weights import read_weights, write_weights

PHOTOS = [f"{scene}-{k}" for scene in ("chelsea", "china", "motorcycle") for k in range(4)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lit_run(tmp_path_factory.mktemp("lit") / "vit")


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


@pytest.fixture(scope="module")
def data() -> SamplePhotos:
    found = SamplePhotos(size=32, test_size=64, batch_size=1, images=False, seed=0, crops=2, procedural=1)
    found.setup()
    return found


@pytest.fixture(scope="module")
def learned(clip: FrozenClip) -> Tensor:
    """Features of the prompts that the run's last refinement left."""
    pair = PromptPair(clip, context=4, generator=keyed_generator("5-prompt_refinement"))
    return pair(clip).detach()


def pixels(data: SamplePhotos, name: str, kind: str) -> Tensor:
    assert data.test is not None
    pair = data.test[list(data.test.names).index(name)]
    picture = pair["input"] if kind == "input" else pair["reference"]
    return picture[None].float() / 255


def positive(clip: FrozenClip, text: Tensor, image: Tensor) -> float:
    """Eq. (2) by hand: the positive prompt's share, at the run's scale."""
    negative, good = (SCALE * (clip.encode_image(image) @ text.T))[0].tolist()
    return 1 / (1 + math.exp(negative - good))


def drawn(figure: Figure, row: int, column: int, columns: int) -> np.ndarray:
    """The picture at a place of a figure's grid."""
    return np.asarray(figure.axes[row * columns + column].get_images()[0].get_array())


def as_shown(image: Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


def enhanced(key: str, image: Tensor) -> Tensor:
    with torch.no_grad():
        return (image / enhancer(key)(image)).clamp(0, 1)


def test_bars_are_the_shares_of_the_positive_prompts(
    run: Path, clip: FrozenClip, data: SamplePhotos, learned: Tensor
) -> None:
    picture, bars, other, other_bars = scores(run, ["china-1"]).axes
    assert [panel.get_title() for panel in (picture, other)] == ["backlit", "well lit"]
    labels = [label.get_text() for label in bars.get_yticklabels()]
    assert labels[:2] == ["learned", "“well-lit”, not “dark”"]
    assert labels[-1] == "“bright”, not “dark”"
    texts = {0: learned, 1: clip.encode_text(["dark", "well-lit"]), -1: clip.encode_text(["dark", "bright"])}
    for panel, kind in ((bars, "input"), (other_bars, "reference")):
        image = pixels(data, "china-1", kind)
        for place, text in texts.items():
            bar = panel.patches[place]
            value = positive(clip, text, image)
            assert bar.get_width() == pytest.approx(value, abs=1e-4)
            right = (value > 0.5) == (kind == "reference")
            assert bar.get_facecolor()[:3] == pytest.approx(_rgb("tab:green" if right else "tab:red"))


def _rgb(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def test_points_are_the_scores_of_all_test_photographs_and_copies_count_once(
    run: Path, clip: FrozenClip, data: SamplePhotos, learned: Tensor
) -> None:
    """Four inputs of a scene have one reference."""
    figure = distribution(run)
    assert figure.get_supxlabel() == "score of the positive prompt (12 test pairs, each photograph once)"
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["backlit (12)", "well lit (3)"]
    columns = [learned, clip.encode_text(["dark", "well-lit"])]
    for text, panel in zip(columns, figure.axes[2:], strict=True):
        shown = zip(panel.collections, ("input", "reference"), (PHOTOS, PHOTOS[::4]), strict=True)
        for points, kind, names in shown:
            expected = [positive(clip, text, pixels(data, name, kind)) for name in names]
            assert np.asarray(points.get_offsets())[:, 0] == pytest.approx(expected, abs=1e-4)


def srgb(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("value", [10, 128, 200, 255])
def test_levels_are_stops_of_linear_light(value: int) -> None:
    srgb_value = value / 255
    linear = srgb_value / 12.92 if srgb_value <= 0.04045 else ((srgb_value + 0.055) / 1.055) ** 2.4
    found = exposed(torch.full((1, 3, 2, 2), srgb_value), (-3.0, -1.0, 0.0, 1.0))
    expected = [round(255 * srgb(min(1.0, linear * 2**ev))) for ev in (-3, -1, 0, 1)]
    assert (found[:, 1, 0, 0] * 255).round().tolist() == expected
    assert expected[2] == value


def test_curves_are_the_scores_of_each_scene_at_each_level(
    run: Path, clip: FrozenClip, data: SamplePhotos, learned: Tensor
) -> None:
    """Four inputs of a scene have one reference, which counts once."""
    *pictures, curves = luminance(run).axes
    assert [panel.get_title() for panel in pictures] == ["-2.0 EV", "-1.5 EV", "-1.0 EV", "-0.5 EV", "0 EV"]
    ladders = [
        exposed(pixels(data, f"{scene}-0", "reference"), LEVELS)
        for scene in ("chelsea", "china", "motorcycle")
    ]
    for panel, level in zip(pictures, ladders[0][::2], strict=True):
        assert np.allclose(np.asarray(panel.get_images()[0].get_array()), as_shown(level[None]))
    lines = [np.asarray(line.get_ydata()) for line in curves.get_lines()[:4]]
    expected = [[positive(clip, learned, level[None]) for level in ladder] for ladder in ladders]
    assert np.allclose(lines[:3], expected, atol=1e-4)
    assert np.allclose(lines[3], np.mean(expected, axis=0), atol=1e-4)


def test_maps_lie_between_a_photograph_and_its_result(run: Path, data: SamplePhotos) -> None:
    from matplotlib import colormaps

    figure = illumination(run, ["china-2"])
    image = pixels(data, "china-2", "input")
    with torch.no_grad():
        found = enhancer("6-tuning")(image)
    assert np.allclose(drawn(figure, 0, 0, 4), as_shown(image), atol=1e-6)
    assert np.allclose(drawn(figure, 0, 3, 4), as_shown(enhanced("6-tuning", image)), atol=1e-5)
    low, high = float(found.min()), float(found.max())
    assert figure.axes[1].get_title() == f"map {low:.2f} to {high:.2f}"
    assert high > low + 0.01
    colours = colormaps["inferno"]((found / max(1, high))[0, 0].numpy())[..., :3]
    assert np.allclose(drawn(figure, 0, 1, 4), colours, atol=0.01)
    grey = as_shown(image).mean(axis=2, keepdims=True)
    assert np.allclose(drawn(figure, 0, 2, 4), 0.35 * grey + 0.65 * colours, atol=0.01)
    assert figure.axes[-1].get_ylim() == pytest.approx((0, max(1, high)))


def test_the_colours_of_maps_reach_beyond_one_where_a_map_does(tmp_path: Path, data: SamplePhotos) -> None:
    """One number, one colour: a map's colours are the same whatever the maps around it."""
    run = lit_run(tmp_path / "run")
    file = run / "stages" / "6-tuning" / "weights.safetensors"
    weights, metadata = read_weights(file)
    name = next(key for key in reversed(weights["enhancer"]) if key.endswith("bias"))
    weights["enhancer"][name] += 1.0
    write_weights(file, weights, metadata)
    figure = illumination(run, ["china-2"])
    highest = float(figure.axes[1].get_title().split()[-1])
    assert highest > 1
    assert figure.axes[-1].get_ylim() == pytest.approx((0, highest), abs=0.005)


def test_rounds_show_what_the_enhancer_of_each_gives(run: Path, data: SamplePhotos) -> None:
    figure = rounds(run, ["motorcycle-0", "chelsea-1"])
    heads = ["input", "round 0", "round 1", "round 2", "reference"]
    assert [panel.get_title() for panel in figure.axes[:5]] == heads
    for row, name in enumerate(("motorcycle-0", "chelsea-1")):
        image, reference = pixels(data, name, "input"), pixels(data, name, "reference")
        for column, key in ((1, "2-enhancement"), (2, "4-tuning"), (3, "6-tuning")):
            result = enhanced(key, image)
            assert np.allclose(drawn(figure, row, column, 5), as_shown(result), atol=1e-5)
            bytes_ = [(one[0] * 255).round().byte().numpy() for one in (reference, result)]
            psnr = peak_signal_noise_ratio(*bytes_, data_range=255)
            assert figure.axes[row * 5 + column].get_xlabel() == f"PSNR {psnr:.1f} dB"
        assert np.allclose(drawn(figure, row, 4, 5), as_shown(reference), atol=1e-6)


def test_runs_side_by_side_enhance_the_first_ones_photographs(
    run: Path, data: SamplePhotos, tmp_path: Path
) -> None:
    settings = {"well_lit": ["/photos/DIV2K_384", "FiveK"]}
    other = lit_run(tmp_path / "two", "tiny-ResNet", data=settings)
    figure = references([run, other], ["china-3"])
    heads = [panel.get_title() for panel in figure.axes]
    assert heads == ["input", "vit", "two\nDIV2K_384 + FiveK", "reference"]
    result = enhanced("6-tuning", pixels(data, "china-3", "input"))
    assert np.allclose(drawn(figure, 0, 1, 4), as_shown(result), atol=1e-3)
    assert np.array_equal(drawn(figure, 0, 1, 4), drawn(figure, 0, 2, 4))


def test_relevance_is_that_of_each_rounds_negative_prompt(
    run: Path, data: SamplePhotos, clip: FrozenClip
) -> None:
    from matplotlib import colormaps

    from relit.attention_relevance import relevance as of_patches

    figure = relevance(run, ["china-0"])
    assert [panel.get_title() for panel in figure.axes[:4]] == ["input", "round 0", "round 1", "round 2"]
    image, maps = pixels(data, "china-0", "input"), []
    for key in ("1-prompt_initialisation", "3-prompt_refinement", "5-prompt_refinement"):
        text = PromptPair(clip, context=4, generator=keyed_generator(key))(clip).detach()
        shares = 64 * of_patches(clip, image, text[0], SCALE)[None]
        maps.append(torch.nn.functional.interpolate(shares, image.shape[-2:], mode="bilinear")[0, 0].numpy())
    grey = as_shown(image).mean(axis=2, keepdims=True)
    for place, found in enumerate(maps):
        colours = colormaps["turbo"](np.minimum(1, found / np.quantile(maps, 0.98)))[..., :3]
        assert np.abs(drawn(figure, 0, 1 + place, 4) - 0.35 * grey - 0.65 * colours).mean() < 0.01


def test_prompts_of_a_resnet_have_no_relevance(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"clip\.prompts\.model=tiny-ResNet.*tiny-ViT"):
        relevance(lit_run(tmp_path / "resnet", "tiny-ResNet"))


def test_a_run_of_fixed_phrases_learned_no_prompts(tmp_path: Path) -> None:
    fixed = {"_target_": "relit.clip_lit.prompts.FixedPrompts", "phrases": ["dark", "bright"]}
    plan = ["enhancement", "tuning"]
    with pytest.raises(ConfigurationError, match="learned no prompts"):
        scores(lit_run(tmp_path / "fixed", prompts=fixed, plan=plan))


def test_without_references_well_lit_photographs_stand_in_for_them(
    tmp_path: Path, data: SamplePhotos
) -> None:
    for name in ("china-0", "chelsea-0", "motorcycle-0"):
        write_png(tmp_path / "backlit" / f"{name}.png", pixels(data, name, "input")[0])
        write_png(tmp_path / "well_lit" / f"other-{name}.png", pixels(data, name, "reference")[0])
    folders = {
        "_target_": "relit.data.folder_photos.FolderPhotos",
        **{"root": str(tmp_path), "backlit": "backlit", "well_lit": "well_lit"},
        **{"size": 32, "test_size": None, "batch_size": 1, "images": False, "seed": 0},
    }
    run = lit_run(tmp_path / "run", data=folders)
    pictures = scores(run).axes[::2]
    assert [panel.get_xlabel() for panel in pictures] == [
        *("chelsea-0", "other-chelsea-0", "china-0", "other-china-0")
    ]
    label = distribution(run).get_supxlabel()
    assert "(3 backlit training photographs, 3 well-lit training photographs, each once)" in label
    assert "thin lines: 3 photographs" in luminance(run).axes[-1].get_xlabel()
    heads = [panel.get_title() for panel in rounds(run).axes[:4]]
    assert heads == ["input", "round 0", "round 1", "round 2"]
