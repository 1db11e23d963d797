"""Optuna's current release under Hydra: workers that take trials of one study until it is done."""
