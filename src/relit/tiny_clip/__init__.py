"""The embedded CLIP: a few million parameters, trained by this project to judge light."""
