"""The embedded sample data: real photographs, disjoint roles, the same for every run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from relit.data import photographs as bundled
from relit.data.photographs import PHOTOGRAPHS, Photograph, photographs
from relit.data.sample import EXPOSURES, SamplePhotos
from relit.data.sample_scenes import as_bytes, whole
from relit.errors import ConfigurationError
from relit.metrics import image_psnr


def sample(seed: int = 0, size: int = 32) -> SamplePhotos:
    data = SamplePhotos(size=size, test_size=64, batch_size=2, images=True, seed=seed, crops=6, procedural=3)
    data.setup()
    return data


@pytest.fixture(scope="module")
def data() -> SamplePhotos:
    return sample()


# --- the photographs ---


def test_every_scene_has_one_role_and_is_installed() -> None:
    roles = [{source.path() for source in photographs(role)} for role in ("input", "reference", "test")]
    assert sum(len(paths) for paths in roles) == len(set.union(*roles)) == len(PHOTOGRAPHS)
    assert len(roles[2]) >= 3
    for path in set.union(*roles):
        with Image.open(path) as opened:
            assert opened.mode == "RGB"
            assert min(opened.size) >= 300


def test_a_missing_photograph_is_named() -> None:
    gone = Photograph("moon", "skimage", "data/no_such_file.png", "CC0", "test")
    with pytest.raises(ConfigurationError, match=r"(?s)moon.*no_such_file.*data=folders"):
        gone.path()
    with pytest.raises(ConfigurationError, match="no_such_package"):
        Photograph("moon", "no_such_package", "moon.png", "CC0", "test").path()
    assert bundled.photographs("test")[0].path().is_file()


# --- training data ---


def test_scenes_of_inputs_references_and_test_are_disjoint(data: SamplePhotos) -> None:
    assert data.test is not None

    def scenes(names: list[str]) -> set[str]:
        return {name.rsplit("-", 1)[0] for name in names}

    inputs, references, test = (
        scenes(list(photos.names)) for photos in (data.backlit, data.well_lit, data.test)
    )
    assert inputs == {source.name for source in photographs("input")} | {"procedural-input"}
    assert references == {source.name for source in photographs("reference")} | {"procedural-reference"}
    assert test == {source.name for source in photographs("test")}
    assert not inputs & references
    assert not (inputs | references) & test


def test_it_is_the_same_for_every_run(data: SamplePhotos) -> None:
    again = sample(seed=9)
    for photos, same in ((data.backlit, again.backlit), (data.well_lit, again.well_lit)):
        assert list(photos.names) == list(same.names)
        assert all(torch.equal(photos[i], same[i]) for i in range(len(photos)))
    assert data.test is not None
    assert again.test is not None
    assert all(torch.equal(data.test[i]["input"], again.test[i]["input"]) for i in range(len(data.test)))


def test_inputs_are_darker_than_references(data: SamplePhotos) -> None:
    assert len(data.backlit) == len(data.well_lit) == 9
    brightness = [
        torch.stack([photos[i].float().mean() for i in range(9)]) for photos in (data.backlit, data.well_lit)
    ]
    assert brightness[0].mean() < 0.75 * brightness[1].mean()
    assert data.backlit[0].dtype == torch.uint8
    assert data.backlit[0].shape == (3, 32, 32)


def test_batches_hold_the_backlit_photographs(data: SamplePhotos) -> None:
    batch = next(iter(data.train_dataloader()))
    for image, index in zip(batch["image"], batch["backlit"].tolist(), strict=True):
        assert torch.equal(image, data.backlit[index])


# --- test pairs ---


def test_each_test_scene_comes_in_several_exposures_with_one_reference(data: SamplePhotos) -> None:
    pairs = data.test
    assert pairs is not None
    assert len(pairs) == EXPOSURES * len(photographs("test"))
    for number, source in enumerate(photographs("test")):
        group = [pairs[EXPOSURES * number + k] for k in range(EXPOSURES)]
        assert all(torch.equal(pair["reference"], group[0]["reference"]) for pair in group)
        inputs = torch.stack([pair["input"].float() for pair in group])
        assert all(not torch.equal(one, inputs[0]) for one in inputs[1:])
        assert (inputs.mean((1, 2, 3)) < 0.9 * group[0]["reference"].float().mean()).all()
        psnr = image_psnr(inputs / 255, torch.stack([pair["reference"] for pair in group]) / 255)
        assert ((psnr > 4) & (psnr < 22)).all()  # backlit, but the same scene
        with Image.open(source.path()) as opened:
            width, height = opened.size
        assert group[0]["reference"].shape[1:] == torch.Size(
            round(side * 64 / max(width, height)) for side in (height, width)
        )


def test_references_of_their_own_size_are_the_photographs_themselves() -> None:
    source = photographs("test")[0]
    with Image.open(source.path()) as opened:
        expected = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
    assert torch.equal(as_bytes(whole(source, None)), expected)
