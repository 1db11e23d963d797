"""Image features are CLIP's, of photographs under transforms that seed, position and step decide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.data.augmentation import Augmentation
from relit.data.sets import MemoryPhotoSet
from relit.errors import ConfigurationError
from relit.feature_bank import FeatureBank, image_features
from relit.fresh_features import BATCH, FreshFeatures
from relit.keyed import keyed_generator

AUGMENTATION = Augmentation(zoom=(0.5, 1.5), zoom_p=1.0, rotate_p=1.0)
CPU = torch.device("cpu")
SEED = 7


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def photographs(count: int) -> MemoryPhotoSet:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 24, 24), generator=generator, dtype=torch.uint8) for _ in range(count)]
    return MemoryPhotoSet(images, [f"photo {i}" for i in range(count)])


@pytest.fixture(scope="module")
def photos() -> MemoryPhotoSet:
    return photographs(5)


@pytest.fixture(scope="module")
def bank(clip: FrozenClip, photos: MemoryPhotoSet) -> FeatureBank:
    bank = FeatureBank(clip, AUGMENTATION, 3, SEED, CPU)
    bank.add("backlit", photos)
    bank.add("brighter", photos, brighter)
    return bank


def everything(bank: FeatureBank, name: str, photos: int = 5) -> Tensor:
    """All features under a name, (photos, views, D), each asked for by a position that sees its view."""
    position_of = {view: position for position, view in enumerate(bank.views_of(torch.arange(200)).tolist())}
    positions = torch.tensor([position_of[view] for view in sorted(position_of)])
    indices = torch.arange(photos).repeat_interleave(len(positions))
    return bank(name, indices, positions.repeat(photos)).unflatten(0, (photos, -1))


def brighter(images: Tensor) -> Tensor:
    return images.sqrt()


def eight_bit(images: Tensor) -> Tensor:
    return (images * 255).round() / 255


def transformed(image: Tensor, *key: int | str) -> Tensor:
    """A photograph (3, S, S) in [0, 1] under the transform of a key, drawn anew: (1, 3, S, S)."""
    return AUGMENTATION.apply(image[None], AUGMENTATION.draw(keyed_generator(SEED, *key))[None])


# --- the bank ---


def test_features_are_clips_of_the_transformed_photograph(
    bank: FeatureBank, clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    features = everything(bank, "backlit")
    assert features.shape == (5, 3, 128)
    for i in range(5):
        image = photos[i].float() / 255
        views = [image[None], transformed(image, "view", 1), transformed(image, "view", 2)]
        torch.testing.assert_close(features[i], clip.encode_image(torch.cat(views)))


def test_views_are_taken_of_results_of_8_bits(
    bank: FeatureBank, clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    developed = brighter(photos[2].float() / 255)
    expected, unrounded = (
        clip.encode_image(transformed(image, "view", 2))[0] for image in (eight_bit(developed), developed)
    )
    found = everything(bank, "brighter")[2, 2]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found - unrounded).abs().max() > 1e-5


def test_a_view_is_one_transform_for_all_photographs(bank: FeatureBank) -> None:
    image = photographs(1)[0]
    bank.add("copies", MemoryPhotoSet([image] * 4, list("abcd")))
    features = everything(bank, "copies", photos=4)
    torch.testing.assert_close(features, features[:1].expand(4, -1, -1))
    assert (features[0, 0] - features[0, 1]).abs().max() > 1e-3
    assert (features[0, 1] - features[0, 2]).abs().max() > 1e-3


def test_asking_gathers_photograph_and_the_view_of_the_position(bank: FeatureBank) -> None:
    positions = torch.tensor([31, 8, 100])
    one, other, another = bank.views_of(positions).tolist()
    features = everything(bank, "backlit")
    expected = torch.stack([features[4, one], features[0, other], features[4, another]])
    assert torch.equal(bank("backlit", torch.tensor([4, 0, 4]), positions), expected)


def test_photographs_beyond_a_batch_are_in_order(clip: FrozenClip) -> None:
    photos = photographs(BATCH + 3)
    bank = FeatureBank(clip, AUGMENTATION, 1, SEED, CPU)
    bank.add("many", photos)
    expected = clip.encode_image(torch.stack([photos[i] for i in range(len(photos))]).float() / 255)
    torch.testing.assert_close(everything(bank, "many", len(photos))[:, 0], expected)


def test_the_view_is_a_function_of_seed_and_position(bank: FeatureBank, clip: FrozenClip) -> None:
    positions = torch.arange(300)
    views = bank.views_of(positions)
    drawn = [torch.randint(3, (), generator=keyed_generator(SEED, "which view", p)) for p in range(300)]
    assert torch.equal(views, torch.stack(drawn))
    assert torch.equal(bank.views_of(positions[40:50]), views[40:50])
    assert (torch.bincount(views, minlength=3) > 70).all()
    other = FeatureBank(clip, AUGMENTATION, 3, SEED + 1, CPU)
    assert not torch.equal(other.views_of(positions), views)
    assert not torch.equal(other.transforms[1:], bank.transforms[1:])


# --- rolling refresh ---


def refreshed(clip: FrozenClip, photos: MemoryPhotoSet, *steps: int) -> FeatureBank:
    """A bank of four views, one renewed every 10 steps, that is filled at the first of ``steps``."""
    bank = FeatureBank(clip, AUGMENTATION, 4, SEED, CPU, refresh_every=10)
    bank.advance(steps[0])
    bank.add("backlit", photos)
    bank.add("brighter", photos, brighter)
    for step in steps[1:]:
        bank.advance(step)
    return bank


def test_views_are_renewed_in_turn_and_the_photograph_itself_stays(
    clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    bank = FeatureBank(clip, AUGMENTATION, 4, SEED, CPU, refresh_every=10)
    bank.add("backlit", photos)
    for step, renewed in ((9, []), (10, [1]), (19, []), (20, [2]), (30, [3]), (40, [1]), (50, [2])):
        transforms, features = bank.transforms.clone(), everything(bank, "backlit")
        bank.advance(step)
        moved = (bank.transforms - transforms).flatten(1).abs().amax(dim=1)
        assert moved.nonzero().flatten().tolist() == renewed
        changed = (everything(bank, "backlit") - features).abs().amax(dim=(0, 2))
        assert changed.nonzero().flatten().tolist() == renewed
    image = photos[3].float() / 255
    expected = clip.encode_image(transformed(image, "view", 2, 2))[0]
    torch.testing.assert_close(everything(bank, "backlit")[3, 2], expected)


# more than one batch: what a batch is made of may decide the last bit
MANY = photographs(BATCH + 3)


@pytest.fixture(scope="module")
def resumed(clip: FrozenClip) -> FeatureBank:
    return refreshed(clip, MANY, 47)


@pytest.mark.parametrize("path", [(0, *range(1, 48)), (12, 33, 47), (47, 12, 47)])
def test_what_is_held_at_a_step_does_not_depend_on_the_way_there(
    clip: FrozenClip, resumed: FeatureBank, path: tuple[int, ...]
) -> None:
    bank = refreshed(clip, MANY, *path)
    assert torch.equal(bank.transforms, resumed.transforms)
    for name in ("backlit", "brighter"):
        assert torch.equal(everything(bank, name, len(MANY)), everything(resumed, name, len(MANY)))


def test_only_renewed_views_are_encoded_and_nothing_is_developed_again(
    clip: FrozenClip, photos: MemoryPhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"encoded": 0, "developed": 0}

    def counting(what: str, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def counted(images: Tensor) -> Tensor:
            counts[what] += len(images)
            return function(images)

        return counted

    monkeypatch.setattr(clip, "encode_image", counting("encoded", clip.encode_image))
    bank = FeatureBank(clip, AUGMENTATION, 4, SEED, CPU, refresh_every=10)
    bank.add("backlit", photos)
    bank.add("brighter", photos, counting("developed", brighter))
    assert counts == {"encoded": 2 * 5 * 4, "developed": 5}
    bank.advance(9)
    assert counts["encoded"] == 40
    bank.advance(10)
    bank.advance(10)
    assert counts["encoded"] == 40 + 2 * 5
    bank.advance(40)  # views 2, 3 and 1 once more
    assert counts == {"encoded": 50 + 2 * 5 * 3, "developed": 5}


def test_training_under_autocast_refreshes_in_full_precision(
    clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    bank = refreshed(clip, photos, 0)
    with torch.autocast("cpu", torch.bfloat16):
        bank.advance(30)
    assert torch.equal(everything(bank, "backlit"), everything(refreshed(clip, photos, 30), "backlit"))


@pytest.mark.parametrize(("views", "refresh_every"), [(3, None), (1, 10)])
def test_without_an_interval_or_with_one_view_nothing_changes(
    clip: FrozenClip, photos: MemoryPhotoSet, views: int, refresh_every: int | None
) -> None:
    bank = FeatureBank(clip, AUGMENTATION, views, SEED, CPU, refresh_every)
    bank.add("backlit", photos)
    transforms, features = bank.transforms.clone(), everything(bank, "backlit")
    bank.advance(1000)
    assert torch.equal(bank.transforms, transforms)
    assert torch.equal(everything(bank, "backlit"), features)


# --- fresh features ---


@pytest.fixture(scope="module")
def fresh(clip: FrozenClip, photos: MemoryPhotoSet) -> FreshFeatures:
    fresh = FreshFeatures(clip, AUGMENTATION, SEED, CPU)
    fresh.add("backlit", photos)
    fresh.add("brighter", photos, brighter)
    return fresh


def test_fresh_features_have_a_transform_per_position(
    fresh: FreshFeatures, clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    indices, positions = torch.tensor([4, 0, 4]), torch.tensor([31, 8, 100])
    found = fresh("backlit", indices, positions)
    images = [
        transformed(photos[i].float() / 255, "augmentation", p)
        for i, p in zip(indices.tolist(), positions.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, clip.encode_image(torch.cat(images)))
    assert (found[0] - found[2]).abs().max() > 1e-3
    torch.testing.assert_close(fresh("backlit", indices[1:], positions[1:]), found[1:])


def test_fresh_results_have_8_bits_and_the_transform_of_their_photograph(
    fresh: FreshFeatures, clip: FrozenClip, photos: MemoryPhotoSet
) -> None:
    developed = eight_bit(brighter(photos[2].float() / 255))
    expected = clip.encode_image(transformed(developed, "augmentation", 31))
    found = fresh("brighter", torch.tensor([2]), torch.tensor([31]))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_step_does_not_change_fresh_features(fresh: FreshFeatures) -> None:
    asked = torch.tensor([1, 2]), torch.tensor([5, 6])
    before = fresh("backlit", *asked)
    fresh.advance(1000)
    assert torch.equal(fresh("backlit", *asked), before)


# --- both ---


def test_views_decides_between_stored_and_fresh(clip: FrozenClip) -> None:
    assert isinstance(image_features(clip, AUGMENTATION, None, 100, SEED, CPU), FreshFeatures)
    bank = image_features(clip, AUGMENTATION, 3, 100, SEED, CPU)
    assert isinstance(bank, FeatureBank)
    assert (len(bank.transforms), bank.refresh_every) == (3, 100)


@pytest.mark.parametrize("views", [3, None])
def test_a_sample_has_one_transform_under_all_names(
    clip: FrozenClip, photos: MemoryPhotoSet, views: int | None
) -> None:
    features = image_features(clip, AUGMENTATION, views, 10, SEED, CPU)
    for name in ("backlit", "result", "previous"):
        features.add(name, photos)
    positions, same = torch.arange(12), torch.full((12,), 3)
    for step in (0, 25):
        features.advance(step)
        backlit, *others = (features(name, same, positions) for name in ("backlit", "result", "previous"))
        assert all(torch.equal(other, backlit) for other in others)
        assert (backlit - backlit[:1]).abs().amax(dim=1).max() > 1e-3


@pytest.mark.parametrize("views", [3, None])
def test_no_gradient_is_kept(clip: FrozenClip, photos: MemoryPhotoSet, views: int | None) -> None:
    features = image_features(clip, AUGMENTATION, views, None, SEED, CPU)
    gain = torch.ones((), requires_grad=True)
    features.add("brighter", photos, lambda images: gain * images.sqrt())
    assert not features("brighter", torch.tensor([0]), torch.tensor([0])).requires_grad


@pytest.mark.parametrize(("views", "refresh_every", "key"), [(0, None, "views"), (3, 0, "refresh_every")])
def test_fewer_than_one_view_or_step_is_refused(
    clip: FrozenClip, views: int, refresh_every: int | None, key: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{key}: .*not 0\. Set"):
        image_features(clip, AUGMENTATION, views, refresh_every, SEED, CPU)


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_shown_when_asked_for(
    clip: FrozenClip, photos: MemoryPhotoSet, capsys: pytest.CaptureFixture[str], progress: bool
) -> None:
    image_features(clip, AUGMENTATION, 2, None, SEED, CPU, progress).add("backlit", photos)
    assert ("encoding backlit" in capsys.readouterr().err) is progress
