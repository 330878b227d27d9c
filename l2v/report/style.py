"""What all pictures share: a palette that colour-blind readers can tell apart, and one colour per kind of arm."""

from __future__ import annotations

# Okabe & Ito's palette, darkened where thin lines on white need it.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY, BLACK = (
    "#0072b2",
    "#d98200",
    "#00805c",
    "#c04a00",
    "#a8508c",
    "#3a93c8",
    "#7a7a7a",
    "#222222",
)
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY, BLACK)

# Differences below and above zero, for heatmaps that are centred at no effect.
DIVERGING = ((0.0, "#b2182b"), (0.25, "#ef8a62"), (0.5, "#f7f7f7"), (0.75, "#67a9cf"), (1.0, "#2166ac"))
