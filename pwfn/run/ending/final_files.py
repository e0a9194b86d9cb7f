"""Write what a finished run leaves: pictures, artifact, summary and report."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from pwfn.artifact import describe
from pwfn.artifact.receipt import Receipt
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint import files
from pwfn.monitoring.console import show
from pwfn.monitoring.plots import draw_rounds, draw_weights
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records.columns import csv_text
from pwfn.records.files import ARTIFACT, HISTOGRAM, LAYERS, write_text
from pwfn.records.layer_table import LAYER_COLUMNS, layer_rows
from pwfn.records.next_steps import next_steps
from pwfn.records.weight_histogram import WeightHistogram
from pwfn.report import REPORT, report_at_end
from pwfn.run.assemble import Assembly
from pwfn.run.ending.kept_files import left_out, settle_files
from pwfn.run.ending.write_artifact import ARTIFACT_FACTS, write_run_artifact
from pwfn.run.stages import Stages


def finish(assembly: Assembly, stages: Stages, reporter: RunReporter) -> None:
    """Write and show the results of a finished run on rank 0, then remove what it is not to keep.

    The file that marks the run as finished (result.json) comes after everything that could fail: where a disk is full,
    the checkpoints are still there and the run can be resumed.

    Args:
        assembly: what the run is made of.
        stages: all of which are done.
        reporter: of rank 0.
    """
    settings, folder, state = assembly.settings, assembly.folder, assembly.state
    in_a_sweep = assembly.identity.group is not None
    unwanted = left_out(settings.keep, in_a_sweep=in_a_sweep)
    _write_pictures(assembly, stages)
    receipt = write_run_artifact(
        folder, assembly.network, settings, assembly.config, stages.baseline, state.records[-1]
    )
    header = describe(folder / ARTIFACT)
    reporter.report_artifact(folder / ARTIFACT, {key: header[key] for key in ARTIFACT_FACTS})
    reporter.finish(state.records, stages.baseline, _facts(assembly, stages, receipt))
    assembly.console.print(receipt.table())
    files.remove(folder)
    if settings.report:
        report_at_end(folder, partial(show, assembly.console))
    show(assembly.console, settle_files(folder, unwanted))
    if not in_a_sweep:  # which ends with lines of its own
        report = folder / REPORT
        for line in next_steps(folder, report if report.is_file() else None):
            show(assembly.console, line)


def _write_pictures(assembly: Assembly, stages: Stages) -> None:
    """Draw rounds and weights, and write the tables behind the second picture."""
    folder, network, state = assembly.folder, assembly.network, assembly.state
    assert state.before is not None  # known from the end of the pretraining on
    draw_rounds(state.records, stages.baseline, folder / "rounds.png")
    spread = WeightHistogram.of(state.before, FlatWeights.of(quantized_tensors(network)).mu)
    draw_weights(spread, folder / "weights.png")
    write_text(folder / HISTOGRAM, json.dumps(spread.as_dict()) + "\n")
    write_text(folder / LAYERS, csv_text(LAYER_COLUMNS, layer_rows(network, state.before, assembly.coverage.kinds)))


def _facts(assembly: Assembly, stages: Stages, receipt: Receipt) -> dict[str, Any]:
    """Collect what is needed to repeat a run, and how much of the network its figures speak of."""
    settings, cover, identity = assembly.settings, assembly.coverage, assembly.identity
    return {
        "weights": cover.covered,
        "parameters": cover.total,
        "in_floating_point": {reason: size for reason, _, size in cover.left_out_by_reason()},
        "test_images": assembly.data.count("test"),
        "classes": assembly.data.spec.num_classes,
        "seed": settings.seed,
        "seconds": stages.saver.seconds,
        "processes": stages.runner.trainer.world_size,
        **asdict(assembly.provenance),
        "artifact": receipt.as_dict(),
        "identity": asdict(replace(identity, group=settings.logger.group_of(identity.group))),
    }
