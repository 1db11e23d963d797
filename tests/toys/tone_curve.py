"""A small correction of exposure, trained on pairs: a curve for every pixel, given the photograph's mean."""

from __future__ import annotations

import json
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from relit.keyed import keyed_generator
from relit.metrics import PairMetrics
from relit.run_context import RunContext
from relit.stage_context import StageContext
from relit.weights import Weights


class ToneCurve(nn.Module):
    """Colour and the photograph's mean colour in, colour out: (B, 3, H, W) in [0, 1] to the same."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(6, 16, 1), nn.LeakyReLU(0.1), nn.Conv2d(16, 3, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean((2, 3), keepdim=True).expand_as(image)
        return torch.sigmoid(self.layers(torch.cat([image, mean], 1)))


class ToneCurveStage(LightningModule):
    """Trains the curve on L1 and validates by PSNR."""

    def __init__(self, context: StageContext) -> None:
        super().__init__()
        self.curve = ToneCurve(keyed_generator(context.seed, "curve"))
        self.scores = PairMetrics(prefix="val/")

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = (self.curve(batch["input"] / 255) - batch["reference"] / 255).abs().mean()
        self.log("toy/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Any]) -> None:
        self.scores.update(self.curve(batch["input"] / 255), batch["reference"] / 255)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.scores.compute())
        self.scores.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)

    def handover(self) -> Weights:
        return {"curve": self.curve.state_dict()}


@torch.no_grad()
def evaluate(context: RunContext) -> dict[str, float]:
    """PSNR of inputs and results on the test split, by label, under the data module's protocol."""
    curve = ToneCurve(torch.Generator())
    curve.load_state_dict(context.weights["curve"])
    context.datamodule.setup()
    rows: dict[str, PairMetrics] = {}
    for pair in context.datamodule.test_dataloader():
        image, reference = pair["input"] / 255, pair["reference"] / 255
        for kind, picture in (("input", image), ("result", curve(image))):
            rows.setdefault(f"{kind} {pair['label'][0]}", PairMetrics()).update(picture, reference)
    report = {name: {key: float(value) for key, value in row.compute().items()} for name, row in rows.items()}
    report["protocol"] = context.datamodule.protocol.name
    (context.run_dir / "metrics.json").write_text(json.dumps(report, indent=2))
    return {}
