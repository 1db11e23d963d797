"""Pairs of real brackets through the whole way: configuration, layout, crops, a stage, its resume, a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from relit.stages import run_stages
from relit.weights import read_weights

CONF = Path(__file__).resolve().parents[2] / "conf"


def configuration(root: Path, run_dir: Path, steps: int, *overrides: str) -> DictConfig:
    """``data=sice_v2`` with one stage that learns a tone curve."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "data=sice_v2", f"data.root={root}", "name=brackets", f"run_dir={run_dir}",
                "progress=false", "trainer.accelerator=cpu", "plan=[correction]", "data.crop=32", *overrides,
            ],
        )  # fmt: skip
    OmegaConf.set_struct(cfg, False)
    module = {"_target_": "tone_curve.ToneCurveStage"}
    cfg.clip = None
    cfg.stage = {"correction": {"module": module, "data": {}, "steps": steps, "extend": None, "trainer": {}}}
    cfg.finish = [{"_target_": "tone_curve.evaluate"}]
    return cfg


def train(*arguments: Any) -> dict[str, Any]:
    cfg = configuration(*arguments)
    run_stages(cfg)
    report: dict[str, Any] = json.loads((Path(cfg.run_dir) / "metrics.json").read_text())
    return report


@pytest.mark.filterwarnings("ignore")
def test_a_curve_learned_on_real_brackets_mends_both_kinds_of_exposure(shared: Path, tmp_path: Path) -> None:
    report = train(shared / "photos", tmp_path / "run", 400, "data.test_size=64")
    assert report["protocol"] == "rgb8"
    for label in ("under", "over"):
        assert report[f"result {label}"]["psnr"] > report[f"input {label}"]["psnr"] + 2


@pytest.mark.filterwarnings("ignore")
def test_workers_and_the_cache_change_no_weight(shared: Path, tmp_path: Path) -> None:
    cache = ["data.cache=true", f"data.cache_dir={tmp_path / 'cache'}"]
    runs = {"plain": [], "filling": cache, "filled": [*cache, "data.num_workers=2"]}
    weights = []
    for name, overrides in runs.items():
        train(shared / "photos", tmp_path / name, 6, "data.test_size=16", *overrides)
        weights.append(read_weights(tmp_path / name / "stages" / "1-correction" / "weights.safetensors")[0])
    for other in weights[1:]:
        for key, tensor in weights[0]["curve"].items():
            assert torch.equal(tensor, other["curve"][key])
