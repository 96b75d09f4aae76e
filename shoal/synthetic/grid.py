"""Sizes that the renderer's pixel loops and the tables they read agree on."""

CELL = 8
"""Light is given on a grid this coarse (px): ripples are wider than that. Fixed, so that the loop over it unrolls."""

PAD = 8
"""Border around the floor's picture, px: displaced reads need no bounds check."""
