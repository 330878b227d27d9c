"""The panels of an analysis' pictures, drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from l2v.report.panels import HeatMap, Line, Panel, Picture, drawn


def test_long_names_of_models_stay_within_the_picture_and_off_each_other() -> None:
    source, target = "deepseek_r1_distill_llama_70b", "my_own_internvl2_llama3_76b_finetuned"
    blocks = range(80)
    heat = HeatMap(blocks, blocks, np.zeros((80, 80)).tolist(), "cosine", 1.0)
    line = Line("measured", [2, 8192], [0, 1], "#0072b2")
    panels = [
        Panel("Carried", f"block of target {target}", f"block of source {source}", heat=heat),
        Panel(f"target {target}, block 40: carried axis", "cutoff k (bins)", "dispersion kept", [line], log_x=True),
        Panel(f"target {target}, k = 400", "decoder block", f"block of target {target}", [line], whole_x=True),
    ]
    figure = drawn(Picture("", "", "", panels, pd.DataFrame()))
    FigureCanvasAgg(figure).draw()
    words = [word for axes in figure.axes for word in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)]
    boxes = [word.get_window_extent() for word in words if word.get_text()]
    assert len(boxes) == 10 and all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
