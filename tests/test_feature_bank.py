"""The bank holds what CLIP says of the same view of every photograph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.data.augmentation import Augmentation
from relit.data.folders import MemoryPhotoSet
from relit.errors import ConfigurationError
from relit.feature_bank import FeatureBank
from relit.keyed import keyed_generator

AUGMENTATION = Augmentation(zoom=(0.5, 1.5), zoom_p=1.0, rotate_p=1.0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


@pytest.fixture(scope="module")
def photos() -> MemoryPhotoSet:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 24, 24), generator=generator, dtype=torch.uint8) for _ in range(5)]
    return MemoryPhotoSet(images, [f"photo {i}" for i in range(5)])


@pytest.fixture(scope="module")
def bank(clip: FrozenClip, photos: MemoryPhotoSet) -> FeatureBank:
    bank = FeatureBank(clip, AUGMENTATION, views=3, seed=7, device=CPU)
    bank.add("backlit", photos)
    bank.add("brighter", photos, brighter)
    return bank


def everything(bank: FeatureBank, name: str, photos: int = 5, views: int = 3) -> Tensor:
    """All features under a name, (photos, views, D)."""
    indices = torch.arange(photos).repeat_interleave(views)
    return bank(name, indices, torch.arange(views).repeat(photos)).unflatten(0, (photos, views))


def brighter(images: Tensor) -> Tensor:
    return images.sqrt()


def view(photo: Tensor, k: int) -> Tensor:
    """View k of a photograph, drawn anew: (1, 3, S, S)."""
    image = photo[None].float() / 255
    if k == 0:
        return image
    return AUGMENTATION.apply(image, AUGMENTATION.draw(keyed_generator(7, "view", k))[None])


def test_features_are_clips_of_the_transformed_photograph(
    bank: FeatureBank, clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    assert everything(bank, "backlit").shape == (5, 3, 128)
    for i in range(5):
        for k in range(3):
            expected = clip.encode_image(view(photos[i], k))[0]
            torch.testing.assert_close(everything(bank, "backlit")[i, k], expected)


def test_results_are_developed_before_the_view_is_taken(
    bank: FeatureBank, clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    developed = brighter(photos[2][None].float() / 255)
    transform = AUGMENTATION.draw(keyed_generator(7, "view", 2))[None]
    expected = clip.encode_image(AUGMENTATION.apply(developed, transform))[0]
    torch.testing.assert_close(everything(bank, "brighter")[2, 2], expected)


def test_a_view_is_one_transform_for_all_photographs(bank: FeatureBank, clip: FrozenClip) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(256, (3, 24, 24), generator=generator, dtype=torch.uint8)
    bank.add("copies", MemoryPhotoSet([image] * 4, list("abcd")))
    features = everything(bank, "copies", photos=4)
    torch.testing.assert_close(features, features[:1].expand(4, -1, -1))
    assert (features[0, 0] - features[0, 1]).abs().max() > 1e-3
    assert (features[0, 1] - features[0, 2]).abs().max() > 1e-3


def test_asking_gathers_photograph_and_view(bank: FeatureBank) -> None:
    found = bank("backlit", torch.tensor([4, 0, 4]), torch.tensor([1, 2, 0]))
    features = everything(bank, "backlit")
    assert torch.equal(found, torch.stack([features[4, 1], features[0, 2], features[4, 0]]))


def test_photographs_beyond_a_batch_are_in_order(clip: FrozenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relit.feature_bank.BATCH", 2)
    greys = [torch.full((3, 24, 24), level, dtype=torch.uint8) for level in (10, 80, 130, 200, 250)]
    bank = FeatureBank(clip, AUGMENTATION, views=1, seed=0, device=CPU)
    bank.add("grey", MemoryPhotoSet(greys, list("abcde")))
    expected = clip.encode_image(torch.stack(greys).float() / 255)
    torch.testing.assert_close(everything(bank, "grey", views=1)[:, 0], expected)


def test_the_view_is_a_function_of_seed_and_position(bank: FeatureBank, clip: FrozenClip) -> None:
    positions = torch.arange(300)
    views = bank.views_of(positions)
    assert torch.equal(bank.views_of(positions[40:50]), views[40:50])
    counts = torch.bincount(views, minlength=3)
    assert len(counts) == 3
    assert (counts > 70).all()
    other = FeatureBank(clip, AUGMENTATION, views=3, seed=8, device=CPU)
    assert not torch.equal(other.views_of(positions), views)
    assert not torch.equal(other.transforms[1:], bank.transforms[1:])


def test_no_gradient_is_kept_and_no_view_is_refused(bank: FeatureBank, clip: FrozenClip) -> None:
    assert not everything(bank, "backlit").requires_grad
    with pytest.raises(ConfigurationError, match="at least one view"):
        FeatureBank(clip, AUGMENTATION, views=0, seed=0, device=CPU)
