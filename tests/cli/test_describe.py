"""`pwfn describe`: a few lines that say what a file holds, its tensors, its whole header."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pwfn
from pwfn.artifact.summary import layer_lines, summary_lines
from pwfn.cli.describe import main
from tests.support.project import PROJECT, RECORDED, clean_environment

ARTIFACT = RECORDED / "version_0_1/finished/model.pwfn"


def test_the_summary_of_a_run_is_short_and_has_the_figures_of_the_header(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ARTIFACT)]) == 0
    *facts, more = capsys.readouterr().out.splitlines()
    found = dict(line.split(maxsplit=1) for line in facts)
    header = pwfn.describe(ARTIFACT)
    assert header["model"]["name"] in found["network"]
    assert found["classes"] == "10, without names"
    top1, before = header["metrics"]["final"]["clustered/top1"], header["metrics"]["pretrained"]["top1"]
    assert found["accuracy"] == f"top1 {top1:.2f} % of the test images of its run, before compression {before:.2f} %"
    assert found["weights"] == f"{header['weights']:,} share {len(header['codebook']['numerators']):,} values"
    assert found["bits"].startswith(f"{header['receipt']['file_bits']:.3f} per weight in the file")
    assert f"{header['receipt']['entropy_bits']:.3f} per weight by the entropy" in found["bits"]
    assert found["file"].startswith(f"{ARTIFACT.stat().st_size / 1e6:.3f} MB")
    assert found["file"].endswith("format version 1")
    assert found["made"].startswith("by   pwfn 0.1.0, clustering Greedy, codebook AdditivePow2, 3 rounds, seed ")
    assert "--layers" in more
    assert "--json" in more
    assert len(facts) <= 8


def test_layers_are_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ARTIFACT), "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = pwfn.describe(ARTIFACT)
    for tensor in (*header["coded"], *header["plain"]):
        (line,) = (line for line in lines if line.split()[:1] == [", ".join(tensor["names"])])
        assert " x ".join(map(str, tensor["shape"])) in line
    assert len(lines) <= 9 + 2 + len(header["coded"]) + len(header["plain"])


@pytest.mark.parametrize("flag", ["--json", "--all"])
def test_the_whole_header_is_json_when_asked_for(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ARTIFACT), flag]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(pwfn.describe(ARTIFACT)))


def test_a_file_of_pwfn_save_is_described_by_what_it_holds(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with pytest.warns(UserWarning, match="will not say how to build the model"):
        pwfn.save(tmp_path / "model.pwfn", model, class_names=["cat", "dog\x1b[2J"])
    text = "\n".join(summary_lines(pwfn.describe(tmp_path / "model.pwfn")))
    assert "not one of timm's" in text
    assert "2: cat, dog?[2J" in text  # nothing that a terminal obeys
    assert "accuracy" not in text
    assert text.endswith(", pwfn.save")


def test_metrics_of_any_form_are_no_fault() -> None:
    header = pwfn.describe(ARTIFACT)
    for metrics in (None, {}, {"final": 3}, {"final": {"clustered/top1": "high"}}, {"final": {"clustered/top1": True}}):
        assert not any(line.startswith("accuracy") for line in summary_lines({**header, "metrics": metrics}))
    for config in ({"schedule": 1, "clustering": []}, {"codebook": {"_target_": 7}}):
        assert list(summary_lines({**header, "config": config, "receipt": {}}))[-1] == "made by   pwfn 0.1.0"


def test_a_vector_of_one_number_is_a_row_of_its_own() -> None:
    header = pwfn.describe(ARTIFACT) | {"filled": [{"names": ["bn.mean"], "shape": [4], "dtype": "F32", "bits": 0}]}
    assert list(layer_lines(header))[-1].split() == ["bn.mean", "4", "4", "one", "number"]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "pwfn", "describe", str(ARTIFACT), "--json"]
    with subprocess.Popen(
        command, cwd=PROJECT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
