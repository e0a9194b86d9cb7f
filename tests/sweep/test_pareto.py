"""The search for the best trade between two objectives: what it asks for, and that a kill changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.run.settings import TrainSettings
from tests.support.project import PROJECT, Compose
from tests.support.runs import toy_sweep
from tests.support.runs.toy_sweep import jobs, started, sweep

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")
from hydra_plugins.pwfn_pareto.pareto_sweeper import ParetoSweeper  # noqa: E402
from pwfn.sweep.folder import SweepError  # noqa: E402
from pwfn.sweep.search_space import search_space, suggested  # noqa: E402

SEARCH = (
    "hydra/sweeper=pareto",
    "hydra.sweeper.n_trials=6",
    "hydra.sweeper.n_startup=3",
    "x=interval(0,1)",
    "n=range(1,3)",
    "c=choice(one,two)",
)


def space(*lines: str):  # type: ignore[no-untyped-def]
    return search_space(OverridesParser.create().parse_overrides(list(lines)))


def test_sweep_words_are_what_is_searched() -> None:
    fixed, searched = space(
        "a=5,6,7",
        "b=choice(x,'y z')",
        "c=range(1,8,2)",
        "d=interval(0.5,2)",
        "e=tag(log,interval(1e-4,1e-1))",
        "model=resnet18",
        "a=interval(1,2)",  # replaces the first
        "f=range(1,3)",
        "f=2",  # takes it out of the search
    )
    assert fixed == ["model=resnet18", "f=2"]
    seen = [dict(line.split("=", 1) for line in suggested(trial, searched)) for trial in trials(200)]
    assert {one["b"] for one in seen} == {"x", r"y\ z"}
    assert {one["c"] for one in seen} == {"1", "3", "5", "7"}
    assert all(1 <= float(one["a"]) <= 2 and 0.5 <= float(one["d"]) <= 2 for one in seen)
    small = sum(float(one["e"]) < 10**-2.5 for one in seen)
    assert 70 < small < 130  # evenly over the powers of ten
    assert all(1e-4 <= float(one["e"]) <= 1e-1 for one in seen)
    assert all(len(one["d"].replace(".", "")) <= 5 for one in seen)  # numbers one can read


def trials(count: int):  # type: ignore[no-untyped-def]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    return [study.ask() for _ in range(count)]


@pytest.mark.parametrize("line", ["a=interval(2,1)", "a=tag(log,interval(0,1))", "a=range(1,1)", "a=range(0.5,2)"])
def test_what_cannot_be_searched_is_one_line(line: str) -> None:
    with pytest.raises(HydraException, match=r"^pwfn: a = .*: must be choice\(...\), range"):
        space(line)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_trials", 0),
        ("n_startup", True),
        ("seed", -1),
        ("batch_size", 0),
        ("objectives", {"a": "upwards", "b": "minimize"}),
    ],
)
def test_bad_settings_are_refused(key: str, value: object) -> None:
    good = {"n_trials": 1, "n_startup": 1, "seed": 0, "batch_size": 1, "params": {}}
    good["objectives"] = {"a": "maximize", "b": "minimize"}
    ParetoSweeper(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{key} = "):
        ParetoSweeper(**good | {key: value})  # type: ignore[arg-type]


def test_what_a_trial_chooses_hangs_on_the_seed_and_its_number_alone() -> None:
    """Also where several are asked before the first is run, and with a seed like a date."""
    chosen = []
    for numbers in ((0, 1), (1,)):
        sweeper = ParetoSweeper(8, 8, 20240101, 2, {"a": "maximize", "b": "minimize"}, {})
        sweeper.fixed, sweeper.space = space("x=interval(0,1)", "c=one,two,three")
        sweeper.study = optuna.create_study(directions=["maximize", "minimize"])
        chosen.append([sweeper._ask(number)[1] for number in numbers])
    assert chosen[0][1] == chosen[1][0] != chosen[0][0]


@pytest.mark.slow
def test_a_killed_search_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, killed = (toy_sweep.make(tmp_path / name) for name in ("whole", "killed") if not (tmp_path / name).mkdir())
    done = sweep(whole, *SEARCH)
    assert done.returncode == 0, done.stderr
    assert started(whole) == [0, 1, 2, 3, 4, 5]

    assert sweep(killed, *SEARCH, KILL_SWEEP="2").returncode == -9
    assert started(killed) == [0, 1, 2]
    refused = sweep(killed, *SEARCH)
    assert refused.returncode == 1
    assert "is another search's: go on with it (-m resume_sweep=" in refused.stderr
    assert sweep(killed, *SEARCH, "hydra.launcher.resume=true", FAIL="4").returncode == 1
    assert started(killed) == [2, 3, 4, 5]  # one that fails does not stop the search
    again = sweep(killed, *SEARCH, "hydra.launcher.resume=true")
    assert again.returncode == 0, again.stderr
    assert started(killed) == [4]
    # trial 5 was chosen before trial 4 had said anything
    assert jobs(killed)[0].keys() == jobs(whole)[0].keys()
    same = [{job["job"]: job for job in jobs(folder)} for folder in (whole, killed)]
    assert [same[0][number] for number in range(5)] == [same[1][number] for number in range(5)]

    points = {job["job"]: (job["summary"]["top"], job["summary"]["bits"]) for job in jobs(whole)}
    best = {
        number
        for number, (top, bits) in points.items()
        if not any(t >= top and b <= bits and (t, b) != (top, bits) for t, b in points.values())
    }
    assert {job["job"] for job in jobs(whole, "pareto")} == best
    assert f"{len(best)} of 6 trials" in done.stdout
    assert (whole / "sweep/pareto.csv").read_text().count("\n") == len(best) + 1
    assert (whole / "sweep/pareto.png").stat().st_size > 10_000
    plan = json.loads((whole / "sweep/sweep.json").read_text())
    assert [job["job"] for job in plan["jobs"]] == list(range(6))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["sweep=pareto"], "sweep = 'pareto': must be with the flag -m"),
        (["-m", "sweep=paretto"], "sweep = 'paretto': must be one of pareto; the nearest is pareto"),
        (["-m", "optimizer.lr=interval(1,2)"], "optimizer.lr = interval(1,2): must be values"),
        (["-m", "sweep=pareto", "optimizer.lr=interval(-1,2)"], "optimizer.lr = -1.0: must be a number above 0"),
        (["-m", "sweep=pareto", "codebook.b=6,99"], "codebook.b = 99: must be"),
    ],
)
def test_faults_of_a_search_are_found_before_its_first_trial(
    arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        preflight(TrainSettings, PROJECT / "conf", "train", arguments)
    assert fault in capsys.readouterr().err


@pytest.mark.slow
def test_the_search_of_the_docs_passes_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    resolvers.register()
    preflight(TrainSettings, PROJECT / "conf", "train", ["-m", "sweep=pareto", "seed=3", "codebook.b=6,7"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["data=digits", "data.val_fraction=0"], "data.val_fraction = 0: set it, as"),
        (["data=image_folder", "data.split=[0.8,0,0.2]"], "data.split = [0.8, 0.0, 0.2]: give the second share some"),
        (["data=timm", "data.name=hfids/cifar10", "data.num_classes=10"], "data.name = 'hfids/cifar10': is streamed"),
    ],
)
def test_a_search_without_validation_images_ends_before_its_first_trial(
    overrides: list[str], why: str, composed: Compose, tmp_path: Path
) -> None:
    sweeper = ParetoSweeper(1, 1, 0, 1, {"clustered/val_top1": "maximize", "entropy_bits": "minimize"}, {})
    sweeper.context = SimpleNamespace(config_loader=None)  # type: ignore[assignment]
    sweeper.config, sweeper.folder = composed(*overrides), tmp_path / "sweep"
    with pytest.raises(SweepError) as error:
        sweeper.sweep(["seed=0,1"])
    assert why in str(error.value)
    assert "\n" not in str(error.value)
    assert not sweeper.folder.exists()


def test_validation_images_that_trials_choose_are_no_fault(composed: Compose) -> None:
    sweeper = ParetoSweeper(1, 1, 0, 1, {"clustered/val_top1": "maximize", "entropy_bits": "minimize"}, {})
    for overrides, given in (
        (["data.val_fraction=0"], "data.val_fraction=0.1,0.2"),
        (["data=image_folder", "data.split=[0.7,0.1,0.2]"], "seed=0,1"),
        (["data=image_folder", "data.val_fraction=null"], "seed=0,1"),
    ):
        sweeper.config, (_, sweeper.space) = composed(*overrides), space(given)
        assert sweeper._why_no_validation() is None
