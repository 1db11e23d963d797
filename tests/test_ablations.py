"""CLIP-LIT's ablations and tables as configurations: what each trains, how long, and that it is accepted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from compositions import ROOT, composed, configurations, jobs, stages, table_of, task
from omegaconf import DictConfig, OmegaConf

from relit.ablation_sweep import folder_name
from relit.checks import check_configuration
from relit.clip import FrozenClip
from relit.clip_lit.prompts import FixedPrompts
from relit.clip_loading import load_clip
from relit.instantiation import build

ABLATIONS = sorted(
    path.stem for path in (ROOT / "conf" / "ablation").iterdir() if not path.stem.startswith("restorex_")
)
TABLES = ["table3", "table4", "table5"]
PROMPT_STAGES = ("prompt_initialisation", "prompt_refinement")


@pytest.fixture(scope="module", autouse=True)
def _configurations() -> Iterator[None]:
    with configurations():
        yield


def enhancer_steps(cfg: DictConfig) -> int:
    return sum(cfg.stage[name].steps for name in stages(cfg) if name not in PROMPT_STAGES)


# --- the overrides ---


@pytest.mark.parametrize("run", [("experiment=clip_lit", "budget=laptop"), ("experiment=clip_lit_released",)])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_is_accepted_and_trains_the_enhancer_as_long_as_the_full_method(
    ablation: str, run: tuple[str, ...]
) -> None:
    cfg = composed(*run, f"ablation={ablation}")
    check_configuration(task(cfg))
    assert enhancer_steps(cfg) == enhancer_steps(composed(*run)) > 0


@pytest.mark.parametrize(
    ("ablation", "expected"),
    [
        ("fixed_prompts", "self_reconstruction enhancement tuning tuning"),
        ("no_ranking", "prompt_initialisation self_reconstruction enhancement tuning tuning"),
        *(
            (
                full,
                "prompt_initialisation self_reconstruction enhancement"
                " prompt_refinement tuning prompt_refinement tuning",
            )
            for full in ("no_previous", "none")
        ),
    ],
)
def test_plan(ablation: str, expected: str) -> None:
    cfg = composed("experiment=clip_lit", f"ablation={ablation}", "rounds=2")
    assert stages(cfg) == expected.split()


def test_full_method_as_a_row_changes_nothing() -> None:
    assert task(composed("experiment=clip_lit", "ablation=none")) == task(composed("experiment=clip_lit"))


def test_no_previous_leaves_out_eq_8_and_nothing_else() -> None:
    full, without = (composed("experiment=clip_lit", f"ablation={name}") for name in ("none", "no_previous"))
    assert full.stage.prompt_refinement.module.use_previous
    assert not without.stage.prompt_refinement.module.use_previous
    without.stage.prompt_refinement.module.use_previous = True
    assert task(full) == task(without)


@pytest.mark.parametrize("clip", ["openai", "tiny"])
def test_fixed_prompts_are_two_phrases_for_enhancement_and_tuning_alike(clip: str) -> None:
    cfg = composed("experiment=clip_lit", f"clip={clip}", "ablation=fixed_prompts")
    for name in ("enhancement", "tuning"):
        prompts = build(OmegaConf.to_container(cfg.stage[name].module.prompts, resolve=True))
        assert isinstance(prompts, FixedPrompts)
        assert prompts.phrases == ["backlit", "well-lit"]
        assert list(prompts.parameters()) == []


def test_other_phrases_take_one_override() -> None:
    cfg = composed("experiment=clip_lit", "ablation=fixed_prompts", "clip.phrases=[dark,bright]")
    for name in ("enhancement", "tuning"):
        assert cfg.stage[name].module.prompts.phrases == ["dark", "bright"]


def test_the_embedded_clip_knows_its_phrases() -> None:
    clip: FrozenClip = load_clip("tiny-ResNet", "embedded")
    features = FixedPrompts(list(composed("experiment=quickstart").clip.phrases))(clip)
    assert (features[0] @ features[1]) < 0.9


# --- the tables ---


@pytest.mark.parametrize("table", TABLES)
def test_every_run_of_a_table_is_a_row_of_the_paper_with_equal_enhancer_steps(table: str) -> None:
    runs = [composed(*overrides) for overrides in jobs(table)]
    for cfg in runs:
        check_configuration(task(cfg))
        assert cfg.monitor is None
    assert len({enhancer_steps(cfg) for cfg in runs}) == 1
    callback = table_of(runs[0])
    assert [callback.value_of(cfg) for cfg in runs] == [row.value for row in callback.paper]


@pytest.mark.parametrize("table", ["table4", "table5"])
def test_every_run_of_a_table_has_a_folder_of_its_own(table: str) -> None:
    runs = [composed(*overrides) for overrides in jobs(table, "seed=0,1")]
    assert [cfg.seed for cfg in runs] == [0, 1, 0, 1]
    folders = [cfg.hydra.sweep.subdir for cfg in runs]
    assert len(set(folders)) == len(folders)
    assert all(
        "/" not in folder and f"-seed{cfg.seed}" in folder for folder, cfg in zip(folders, runs, strict=True)
    )
    assert {cfg.hydra.sweep.dir for cfg in runs} == {f"runs/{table}"}


def test_the_papers_figures() -> None:
    """Tables 3 to 5, PSNR / SSIM on BAID."""
    printed = {
        table: {
            row.label: (row.psnr, row.ssim)
            for row in table_of(composed(f"experiment=ablation/{table}")).paper
        }
        for table in TABLES
    }
    assert printed["table3"] == {
        "fixed prompts": (14.748, 0.823),
        "w/o ranking losses, Eq. (7), (8)": (20.884, 0.865),
        "w/o t-1 outputs, Eq. (8)": (20.146, 0.866),
        "full method": (21.579, 0.883),
    }
    assert printed["table4"] == {"MIT5K + DIV2K": (21.413, 0.881), "DIV2K": (21.579, 0.883)}
    assert printed["table5"] == {"adversarial loss": (17.407, 0.785), "CLIP-Enhance loss": (21.579, 0.883)}


def test_folders_of_a_reference_row_are_one_override() -> None:
    rows = "hydra.callbacks.table.rows"
    runs = [
        composed(*overrides)
        for overrides in jobs(
            "table4", f"{rows}.div2k.value=/d/div2k", f"{rows}.mit5k_div2k.value=[/m,/d/div2k]"
        )
    ]
    assert [cfg.data.well_lit for cfg in runs] == [["/m", "/d/div2k"], "/d/div2k"]
    callback = table_of(runs[0])
    assert [callback.value_of(cfg) for cfg in runs] == [row.value for row in callback.paper]


def test_folder_name_tells_folders_apart_and_is_one_folder() -> None:
    assert folder_name("DIV2K_384") == "DIV2K_384"
    assert folder_name(["data/MIT5K", "/data/DIV2K"]) == "data-MIT5K+data-DIV2K"
    assert folder_name("../my photos") == "my-photos"
