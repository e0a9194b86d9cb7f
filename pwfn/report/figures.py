"""Lay out the charts of the page, without their data.

Which runs are seen and which one is selected is the reader's choice. The layout is built from plotly's own classes,
which refuse a mistyped property; charts.js fills in the data.
"""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

# Told apart by color-blind readers (after Okabe and Ito, darkened to 3:1 against white, lightened against black) and,
# as color alone is never enough, by the shape that goes with each.
COLORS = {
    "light": ["#0072B2", "#D55E00", "#007A5A", "#A3518A", "#7A6200", "#3F7FA6", "#5B4B9A", "#555555"],
    "dark": ["#56B4E9", "#F0883E", "#2FBF8F", "#DE9AC4", "#E3CC3C", "#9AD0F5", "#B3A5F0", "#BBBBBB"],
}
SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "x"]
LOGARITHMIC = {"type": "log", "dtick": 1}
ACCURACY = "top-1 accuracy, %"


def charts() -> dict[str, dict[str, Any]]:
    """Return the layout of every chart, by the id of its place in the page."""
    return {
        "pareto-bits": _chart("entropy of the weights, bits per weight", ACCURACY),
        "pareto-file": _chart("model.pwfn, MB", ACCURACY),
        "curves": _chart("round", "", xaxis={"tickformat": "d"}),
        "codebook": _chart("value, in order", "weights", xaxis={"type": "category"}, yaxis=LOGARITHMIC),
        "weights": _chart("weight (logarithmic away from zero)", "weights", xaxis={"tickangle": 0}, yaxis=LOGARITHMIC),
    }


def plotly_js() -> str:
    """Return the whole of plotly.js, as its Python package has it."""
    return str(get_plotlyjs())


def _chart(x: str, y: str, xaxis: dict[str, Any] | None = None, yaxis: dict[str, Any] | None = None) -> dict[str, Any]:
    layout = go.Layout(
        template="none",
        margin={"l": 62, "r": 12, "t": 12, "b": 52},
        xaxis={"title": {"text": x}, "zeroline": False, "automargin": True, **(xaxis or {})},
        yaxis={"title": {"text": y}, "zeroline": False, "automargin": True, **(yaxis or {})},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": 0},
        modebar={"bgcolor": "rgba(0,0,0,0)"},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )
    found: dict[str, Any] = json.loads(json.dumps(layout.to_plotly_json()))  # as JSON has it
    return found
