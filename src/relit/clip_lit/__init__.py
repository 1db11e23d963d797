"""CLIP-LIT (ICCV 2023): iterative prompt learning for unsupervised backlit image enhancement."""
