"""Photographs as files: all that belongs to one beside its light, read and written back."""
