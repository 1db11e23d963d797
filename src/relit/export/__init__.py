"""Trained methods in files that need no Relit: PyTorch's ``.pt2`` and ``.onnx``."""
