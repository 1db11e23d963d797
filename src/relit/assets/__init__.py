"""Files that ship with the package: the weights of the embedded CLIP and its model card."""
