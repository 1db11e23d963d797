"""Every equation recomputed with python floats, its sign, its gradient and its behaviour at the edges."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from relit.clip_lit.losses import (
    IdentityLoss,
    RankingLoss,
    clip_enhance_loss,
    enhancement_loss,
    identity_loss,
    negative_similarity,
    prompt_initialisation_loss,
    ranking_loss_first,
    ranking_loss_later,
    well_lit_probability,
)

SCALES = [1.0, 100.0]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def score_by_hand(feature: list[float], text: list[list[float]], scale: float, row: int) -> float:
    exponentials = [math.exp(scale * cosine(feature, prompt)) for prompt in text]
    return exponentials[row] / sum(exponentials)


def hinge_by_hand(lower: list[float], upper: list[float], margin: float) -> float:
    return sum(max(0.0, x - y + margin) for x, y in zip(lower, upper, strict=True)) / len(lower)


@pytest.mark.parametrize("scale", SCALES)
def test_eq_2_and_6_by_hand(scale: float) -> None:
    features, text = drawn(5, 7), drawn(2, 7, seed=1)
    negative = [score_by_hand(f, text.tolist(), scale, row=0) for f in features.tolist()]
    positive = [score_by_hand(f, text.tolist(), scale, row=1) for f in features.tolist()]
    assert negative_similarity(features, text, scale).tolist() == pytest.approx(negative)
    assert well_lit_probability(features, text, scale).tolist() == pytest.approx(positive)


def test_eq_2_and_6_are_complements_and_ignore_lengths() -> None:
    features, text = drawn(5, 7), drawn(2, 7, seed=1)
    s, y_hat = negative_similarity(features, text), well_lit_probability(features, text)
    torch.testing.assert_close(s + y_hat, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(negative_similarity(3 * features, 0.1 * text), s)
    torch.testing.assert_close(negative_similarity(features, text.flip(0)), y_hat)


@pytest.mark.parametrize("scale", SCALES)
def test_eq_1_by_hand(scale: float) -> None:
    features, text, labels = drawn(4, 6), 0.1 * drawn(2, 6, seed=2) + drawn(1, 6, seed=3), [0, 1, 1, 0]
    by_hand = 0.0
    for feature, y in zip(features.tolist(), labels, strict=True):
        y_hat = score_by_hand(feature, text.tolist(), scale, row=1)
        by_hand -= (y * math.log(y_hat) + (1 - y) * math.log(1 - y_hat)) / 4
    loss = prompt_initialisation_loss(features, torch.tensor(labels), text, scale)
    assert loss.item() == pytest.approx(by_hand)


def test_eq_1_is_ln_2_for_equal_prompts_and_still_teaches_them() -> None:
    features, text = drawn(4, 6), drawn(1, 6, seed=1).repeat(2, 1).requires_grad_()
    loss = prompt_initialisation_loss(features, torch.tensor([0, 0, 1, 1]), text)
    assert loss.item() == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(loss, text)
    torch.testing.assert_close(gradient[0], -gradient[1])
    assert gradient.abs().sum() > 0


def test_eq_1_stays_finite_where_the_probability_saturates() -> None:
    text = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    features = torch.tensor([[1.0, 1e-3]])  # a negative image, without doubt
    assert prompt_initialisation_loss(features, torch.tensor([0]), text).item() == pytest.approx(0, abs=1e-6)
    loss = prompt_initialisation_loss(features, torch.tensor([1]), text)
    assert loss.item() == pytest.approx(200, rel=1e-4)  # log of the wrong class: 100 x (1 - (-1))
    (gradient,) = torch.autograd.grad(loss, text)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("scale", SCALES)
def test_eq_3_is_the_mean_negative_similarity(scale: float) -> None:
    features, text = drawn(3, 5), drawn(2, 5, seed=1)
    by_hand = sum(score_by_hand(f, text.tolist(), scale, row=0) for f in features.tolist()) / 3
    assert clip_enhance_loss(features, text, scale).item() == pytest.approx(by_hand)


def test_a_step_against_eq_3_leaves_the_negative_prompt_for_the_positive_one() -> None:
    features, text = drawn(3, 5).requires_grad_(), drawn(2, 5, seed=1)
    (gradient,) = torch.autograd.grad(clip_enhance_loss(features, text, 1.0), features)
    moved = (features - 0.1 * gradient).detach()
    for before, after in zip(features.tolist(), moved.tolist(), strict=True):
        negative, positive = text.tolist()
        assert cosine(after, negative) - cosine(after, positive) < cosine(before, negative) - cosine(
            before, positive
        )


def test_eq_3_alone_decreases_similarity_to_the_negative_prompt() -> None:
    text = torch.eye(3, dtype=torch.float64)[
        :2
    ]  # orthogonal prompts: moving from one does not need the other
    features = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(clip_enhance_loss(features, text, 1.0), features)
    moved = features.detach() - 0.1 * gradient
    assert cosine(moved[0].tolist(), [1, 0, 0]) < cosine([1, 0, 1], [1, 0, 0])
    assert cosine(moved[0].tolist(), [0, 1, 0]) > 0


def layers(seed: int) -> list[Tensor]:
    return [drawn(2, 3, 4, 4, seed=seed), drawn(2, 5, 2, 2, seed=seed + 1), drawn(2, 6, seed=seed + 2)]


@pytest.mark.parametrize("distance", ["l2_rms", "mse_sum8"])
def test_eq_4_by_hand(distance: Any) -> None:
    b, t, alphas = layers(0), layers(10), [1.0, 2.0, 0.5]
    by_hand = 0.0
    for alpha, layer_b, layer_t in zip(alphas, b, t, strict=True):
        for image_b, image_t in zip(layer_b, layer_t, strict=True):
            pairs = zip(image_b.flatten().tolist(), image_t.flatten().tolist(), strict=True)
            squares = [(x - y) ** 2 for x, y in pairs]
            mean = sum(squares) / len(squares)
            # The batch holds 2 images: a mean for the paper, the release's sum over 8 is 8 times the mean.
            by_hand += alpha * (math.sqrt(mean) / 2 if distance == "l2_rms" else 8 * mean / 2)
    assert identity_loss(b, t, alphas, distance).item() == pytest.approx(by_hand)
    assert IdentityLoss(alphas, distance)(b, t).item() == pytest.approx(by_hand)


def test_eq_4_of_a_batch_of_8_is_the_released_sum() -> None:
    b, t = [drawn(8, 3, 4)], [drawn(8, 3, 4, seed=1)]
    released = sum(torch.nn.functional.mse_loss(x, y).item() for x, y in zip(b[0], t[0], strict=True))
    assert identity_loss(b, t, [1.0], "mse_sum8").item() == pytest.approx(released)


@pytest.mark.parametrize("distance", ["l2_rms", "mse_sum8"])
def test_eq_4_does_not_depend_on_batch_or_size(distance: Any) -> None:
    b, t = [drawn(2, 3, 4, 4)], [drawn(2, 3, 4, 4, seed=1)]
    loss = identity_loss(b, t, [1.0], distance)
    for repeats in [(3, 1, 1, 1), (1, 1, 2, 5)]:
        again = identity_loss([b[0].repeat(repeats)], [t[0].repeat(repeats)], [1.0], distance)
        torch.testing.assert_close(again, loss)


@pytest.mark.parametrize(("distance", "power"), [("l2_rms", 1), ("mse_sum8", 2)])
def test_eq_4_grows_with_the_difference_as_its_norm_does(distance: Any, power: int) -> None:
    b, difference = drawn(2, 9), drawn(2, 9, seed=1)
    small = identity_loss([b], [b + difference], [1.0], distance).item()
    large = identity_loss([b], [b + 3 * difference], [1.0], distance).item()
    assert large == pytest.approx(3**power * small)


@pytest.mark.parametrize("distance", ["l2_rms", "mse_sum8"])
def test_eq_4_of_equal_features_is_zero_with_a_finite_gradient(distance: Any) -> None:
    b = drawn(2, 3, 4, 4)
    t = b.clone().requires_grad_()
    loss = identity_loss([b], [t], [1.0], distance)
    (gradient,) = torch.autograd.grad(loss, t)
    assert loss.item() == 0
    assert gradient.eq(0).all()


def test_eq_4_refuses_a_layer_without_weight() -> None:
    with pytest.raises(ValueError, match=r"longer|shorter"):
        identity_loss(layers(0), layers(1), [1.0, 1.0])
    with pytest.raises(ValueError, match="l1"):
        identity_loss(layers(0), layers(1), [1.0, 1.0, 1.0], "l1")  # type: ignore[arg-type]


def test_eq_5_by_hand() -> None:
    clip, identity = torch.tensor(0.25), torch.tensor(2.0)
    assert enhancement_loss(clip, identity).item() == pytest.approx(0.25 + 0.9 * 2)
    assert enhancement_loss(clip, identity, 22.5, 320.0).item() == pytest.approx(320 * 0.25 + 22.5 * 2)


def test_eq_7_by_hand() -> None:
    b, w, t = [0.95, 0.4, 0.5], [0.01, 0.3, 0.9], [0.04, 0.35, 0.1]
    by_hand = hinge_by_hand(w, b, 0.9) + hinge_by_hand(t, b, 0.9) + hinge_by_hand(w, t, 0.2)
    loss = ranking_loss_first(backlit=torch.tensor(b), well_lit=torch.tensor(w), result=torch.tensor(t))
    assert loss.item() == pytest.approx(by_hand)


@pytest.mark.parametrize("swap_rounds", [False, True])
def test_eq_8_by_hand(swap_rounds: bool) -> None:
    b, w, t, previous = [0.95, 0.4, 0.5], [0.01, 0.3, 0.9], [0.04, 0.35, 0.1], [0.2, 0.1, 0.4]
    newer, older = (previous, t) if swap_rounds else (t, previous)
    by_hand = (
        hinge_by_hand(w, b, 0.8)
        + hinge_by_hand(older, b, 0.8)
        + hinge_by_hand(w, newer, 0.3)
        + hinge_by_hand(newer, older, 0.1)
    )
    scores = {"backlit": b, "well_lit": w, "result": t, "previous": previous}
    tensors = {name: torch.tensor(values) for name, values in scores.items()}
    loss = ranking_loss_later(**tensors, m0=0.8, m1=0.3, m2=0.1, swap_rounds=swap_rounds)
    assert loss.item() == pytest.approx(by_hand)


def gradients_of_eq_8(swap_rounds: bool, m0: float, m1: float, m2: float) -> list[float]:
    """d loss / d (S(I_b), S(I_w), S(I_t), S(I_{t-1})), all scores equal: every margin above 0 is violated."""
    b, w, t, previous = torch.full((4, 1), 0.5, dtype=torch.float64, requires_grad=True).unbind()
    loss = ranking_loss_later(
        backlit=b, well_lit=w, result=t, previous=previous, m0=m0, m1=m1, m2=m2, swap_rounds=swap_rounds
    )
    grads = torch.autograd.grad(loss, [b, w, t, previous], allow_unused=True)
    return [0.0 if g is None else g.item() for g in grads]


def test_each_margin_of_eq_8_drives_its_own_scores() -> None:
    off = -1.0  # no violation: the term is silent
    assert gradients_of_eq_8(False, 0.9, off, off) == [-2, 1, 0, 1]
    assert gradients_of_eq_8(False, off, 0.2, off) == [0, 1, -1, 0]
    assert gradients_of_eq_8(False, off, off, 0.2) == [0, 0, 1, -1]


def test_swapped_rounds_turn_the_last_term_around() -> None:
    off = -1.0
    assert gradients_of_eq_8(True, off, off, 0.2) == [0, 0, -1, 1]
    assert gradients_of_eq_8(True, off, 0.2, off) == [0, 1, 0, -1]
    assert gradients_of_eq_8(True, 0.9, off, off) == [-2, 1, 1, 0]


def test_ranking_losses_vanish_for_the_right_order_and_count_each_violation() -> None:
    right = {"backlit": 1.0, "previous": 0.1, "result": 0.05, "well_lit": 0.0}

    def later(**changes: float) -> float:
        scores = {name: torch.tensor([value]) for name, value in (right | changes).items()}
        return ranking_loss_later(**scores, m0=0.9, m1=0.05, m2=0.05).item()

    assert later() == pytest.approx(0, abs=1e-6)
    assert later(previous=0.15) == pytest.approx(0.05)  # no longer 0.9 below the backlit images
    assert later(backlit=0.9) == pytest.approx(
        0.1
    )  # the well-lit ones have room, the previous results have not
    assert later(result=0.08) == pytest.approx(0.03)  # too close to the previous round
    assert later(well_lit=0.02) == pytest.approx(0.02)  # too close to the result

    def first(**changes: float) -> float:
        scores = {name: torch.tensor([value]) for name, value in (right | changes).items()}
        del scores["previous"]
        return ranking_loss_first(**scores, m0=0.9, m1=0.05).item()

    assert first() == pytest.approx(0, abs=1e-6)
    assert first(result=0.2) == pytest.approx(0.1)
    assert first(well_lit=0.02) == pytest.approx(0.02)


def test_ranking_losses_fall_along_the_way_to_the_right_order() -> None:
    wrong = {"backlit": 0.3, "well_lit": 0.6, "result": 0.5, "previous": 0.4}
    right = {"backlit": 1.0, "well_lit": 0.0, "result": 0.05, "previous": 0.1}
    losses: dict[str, list[float]] = {"first": [], "later": []}
    for way in (0.0, 0.25, 0.5, 0.75, 1.0):
        s = {name: torch.tensor([wrong[name] + way * (right[name] - wrong[name])]) for name in wrong}
        losses["later"].append(ranking_loss_later(**s).item())
        del s["previous"]
        losses["first"].append(ranking_loss_first(**s).item())
    for values in losses.values():
        assert values == sorted(set(values), reverse=True)


def test_a_hinge_is_taken_per_image_before_the_mean() -> None:
    # One image violates, the other has room to spare: the mean score would hide the violation.
    b, w = torch.tensor([1.0, 0.5]), torch.tensor([-1.0, 0.5])
    loss = ranking_loss_first(backlit=b, well_lit=w, result=w, m0=0.9, m1=0.0)
    assert loss.item() == pytest.approx(2 * 0.9 / 2)


def test_scores_of_different_batches_are_refused_instead_of_broadcast() -> None:
    one, four = torch.rand(1), torch.rand(4)
    with pytest.raises(ValueError, match="alike"):
        ranking_loss_first(backlit=four, well_lit=one, result=four)
    with pytest.raises(ValueError, match="alike"):
        ranking_loss_first(backlit=four[:, None], well_lit=four[:, None], result=four[:, None])


@pytest.mark.parametrize("with_previous", [False, True])
def test_ranking_module_scores_features_by_eq_6(with_previous: bool) -> None:
    text = drawn(2, 5)
    b, w, t, previous = (drawn(3, 5, seed=seed) for seed in range(1, 5))
    s_b, s_w, s_t, s_p = (
        torch.tensor([score_by_hand(f, text.tolist(), 10.0, row=0) for f in x.tolist()]).double()
        for x in (b, w, t, previous)
    )
    loss = RankingLoss(m0=0.7, m1=0.3, m2=0.1, logit_scale=10.0)
    if with_previous:
        expected = ranking_loss_later(
            backlit=s_b, well_lit=s_w, result=s_t, previous=s_p, m0=0.7, m1=0.3, m2=0.1
        )
        found = loss(text, b, w, t, previous)
    else:
        expected = ranking_loss_first(backlit=s_b, well_lit=s_w, result=s_t, m0=0.7, m1=0.3)
        found = loss(text, b, w, t)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_a_refinement_step_on_the_prompts_ranks_the_images_better() -> None:
    text = (drawn(1, 8).repeat(2, 1) + 0.01 * drawn(2, 8, seed=9)).requires_grad_()
    b, w, t, previous = (drawn(3, 8, seed=seed) for seed in range(1, 5))
    loss = RankingLoss(logit_scale=1.0)
    before = loss(text, b, w, t, previous)
    (gradient,) = torch.autograd.grad(before, text)
    assert loss(text.detach() - 0.1 * gradient, b, w, t, previous) < before


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_of_eq_1_3_and_6(scale: float) -> None:
    features, text = 5 * drawn(3, 4), drawn(2, 4, seed=1) * 0.05 + drawn(1, 4, seed=2)
    features.requires_grad_()
    text.requires_grad_()
    labels = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(
        lambda f, t: prompt_initialisation_loss(f, labels, t, scale), (features, text)
    )
    assert torch.autograd.gradcheck(lambda f, t: clip_enhance_loss(f, t, scale), (features, text))
    assert torch.autograd.gradcheck(lambda f, t: negative_similarity(f, t, scale), (features, text))


@pytest.mark.parametrize("distance", ["l2_rms", "mse_sum8"])
def test_gradient_of_eq_4(distance: Any) -> None:
    b, t = drawn(2, 3, 2).requires_grad_(), drawn(2, 3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: identity_loss([x, x[:, 0]], [y, y[:, 0]], [1, 0.5], distance), (b, t)
    )


@pytest.mark.parametrize("swap_rounds", [False, True])
def test_gradients_of_eq_7_and_8(swap_rounds: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = [torch.rand(4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(4)]

    def first(b: Tensor, w: Tensor, t: Tensor) -> Tensor:
        return ranking_loss_first(backlit=b, well_lit=w, result=t)

    def later(b: Tensor, w: Tensor, t: Tensor, p: Tensor) -> Tensor:
        return ranking_loss_later(backlit=b, well_lit=w, result=t, previous=p, swap_rounds=swap_rounds)

    assert torch.autograd.gradcheck(first, scores[:3])
    assert torch.autograd.gradcheck(later, scores)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("parallel", [False, True])
def test_equal_and_vanishing_inputs_have_finite_gradients(scale: float, parallel: bool) -> None:
    text = torch.ones(2, 4, requires_grad=True)
    features = (torch.ones(3, 4) if parallel else torch.zeros(3, 4)).requires_grad_()
    s = negative_similarity(features, text, scale)
    assert s.tolist() == pytest.approx([0.5] * 3)
    loss = ranking_loss_later(backlit=s, well_lit=s, result=s, previous=s) + s.sum()
    for gradient in torch.autograd.grad(loss, [features, text]):
        assert gradient.isfinite().all()


def test_similarities_keep_float32_under_autocast() -> None:
    features, text = drawn(16, 64).float(), (drawn(1, 64, seed=1) + 0.1 * drawn(2, 64, seed=2)).float()
    expected = negative_similarity(features, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = negative_similarity(features, text)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_text_must_be_one_pair() -> None:
    with pytest.raises(ValueError, match="negative and positive"):
        negative_similarity(drawn(3, 4), drawn(3, 4))
