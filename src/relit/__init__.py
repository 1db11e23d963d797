"""Relit: CLIP judges light (CLIP-LIT and CLIP-RestoreX on PyTorch Lightning and Hydra)."""
