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
# The same hues on a dark ground.
PALETTE_DARK = ("#56a8e6", "#f0a93b", "#3fc39b", "#f07c4a", "#d58bc0", "#8fd0f5", "#9a9a9a", "#e8e6e1")
# Arms that look the same in every picture; the others take the colours that are left, in their order.
ARM_COLOURS = {
    "direct": BLACK,
    "l2v": BLUE,
    "cot_prompt": ORANGE,
    "own_direction": GREEN,
    "high_pass": RED,
    "own_high_pass": RED,
    "interpolation": PURPLE,
    "full_band": SKY,
    "null": GREY,
}

# Differences on a dark ground, and a single hue for shares and lengths.
DIVERGING_DARK = ((0.0, "#f2786b"), (0.25, "#a8483f"), (0.5, "#2a2d33"), (0.75, "#3f78a8"), (1.0, "#7cc0ff"))
SEQUENTIAL = ((0.0, "#f1efe8"), (0.35, "#b3cbe0"), (0.7, "#4a8abb"), (1.0, "#0b4a80"))
SEQUENTIAL_DARK = ((0.0, "#24272d"), (0.35, "#2d4a66"), (0.7, "#4d8fc4"), (1.0, "#9fd4ff"))
