"""Data: photographs, sample scenes, exposure synthesis and LightningDataModules."""
