"""The decoder as sub-layers, its cache, the decode loop and the importance of each sub-layer."""
