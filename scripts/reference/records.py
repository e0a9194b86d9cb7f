"""Make the pages of the columns of a run's files and of the keys of loggers."""

from __future__ import annotations

from collections.abc import Mapping

from pwfn.records.columns import Column
from pwfn.records.layer_table import LAYER_COLUMNS
from pwfn.records.metric_names import ROUND_VIEW, STEP, SUMMARY, VALIDATION, X_AXES
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from scripts.reference.markdown import cell, code, table

_KINDS = {int: "whole number", float: "number", str: "text"}


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join(
        [
            "# Columns and keys\n",
            "Every file and every logger uses the same names. This page is made from `pwfn/records/`.\n",
            "## rounds.csv and rounds.json\n",
            "One row a round. The same keys go to the logger, over `round`.\n",
            _columns(COLUMNS),
            "## clusters.csv\n",
            "One row for each shared value of each round.\n",
            _columns(CLUSTER_COLUMNS),
            "## layers.csv\n",
            "One row for each quantized tensor, after the last round.\n",
            _columns(LAYER_COLUMNS),
            "## Keys of loggers\n",
            "W&B, TensorBoard, MLflow and CSV get the rows of rounds.csv and the following keys.\n",
            "### In training\n",
            "One row every `trainer.log_every_n_steps` steps.\n",
            _keys(STEP),
            "### On the validation split\n",
            _keys(VALIDATION),
            "### Pictures and tables of a round\n",
            _keys(ROUND_VIEW),
            "### Summary of a run\n",
            _keys(SUMMARY),
            "### X-axes\n",
            _keys(X_AXES),
        ]
    )


def _columns(columns: Mapping[str, Column]) -> str:
    rows = [
        [code(c.key), _KINDS[c.kind] + (", or empty" if c.optional else ""), cell(c.unit), cell(c.meaning)]
        for c in columns.values()
    ]
    return table(["column", "type", "unit", "meaning"], rows)


def _keys(columns: Mapping[str, Column]) -> str:
    return table(["key", "unit", "meaning"], [[code(c.key), cell(c.unit), cell(c.meaning)] for c in columns.values()])
