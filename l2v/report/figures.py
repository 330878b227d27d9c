"""Figures as they are printed everywhere: p-values and differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def p_value(p: float | None) -> str:
    """A p-value as it is printed: "<0.001", "0.034" or "0.34"; nothing for none."""
    return "" if p is None or p != p else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def percent(share: float) -> str:
    """A share as it is printed in a sentence: "25.4 %"."""
    return f"{100 * share:.1f} %"


def points(value: float, digits: int = 1) -> str:
    """A difference with its sign as it is printed: "+1.2", "-0.5"; what rounds to zero is "+0.0", never "-0.0"."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def figure(row: Mapping[Any, Any], name: str) -> float | None:
    """A row's figure, None for a gap."""
    value = row[name]
    return None if value is None or value != value else float(value)
