"""Several loggers at once are told the same, and trackio is told what W&B is."""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from pwfn.config import build
from pwfn.errors import InvalidValueError
from pwfn.monitoring import Csv, Several, TensorBoard, Wandb
from pwfn.monitoring.loggers.several_loggers import spelled_out
from pwfn.monitoring.loggers.spec import LoggerSpec
from tests.support.browser import CHROMIUM, DRIVER, FLAGS
from tests.support.loggers.told_loggers import told
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import PROJECT, Compose, clean_environment

pytestmark = pytest.mark.usefixtures("wandb_folders")


def test_a_list_of_loggers_is_spelled_out_for_hydra() -> None:
    assert spelled_out(["-m", "seed=0,1", "logger=wandb"]) == ["-m", "seed=0,1", "logger=wandb"]
    assert spelled_out(["logger=[wandb,csv]", "seed=1"]) == ["logger=several", "seed=1"]
    assert spelled_out(["logger=[wandb, tensorboard]"]) == [
        "logger=several",
        "logger.csv=null",
        "+logger@logger.tensorboard=tensorboard",
    ]


def test_what_is_spelled_out_composes(composed: Compose) -> None:
    def built(*overrides: str) -> Any:
        node: Any = OmegaConf.to_container(composed(*overrides).logger)
        return build.build(LoggerSpec, node)  # type: ignore[type-abstract]

    assert built(*spelled_out(["logger=[csv,tensorboard]"])) == Several(csv=Csv(), tensorboard=TensorBoard())
    assert built("logger=several", "logger.wandb.mode=online") == Several(csv=Csv(), wandb=Wandb(mode="online"))


def test_none_at_all_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        Several()


def test_each_of_several_gets_every_round(tmp_path: Path) -> None:
    told(Several(wandb=Wandb(save_dir=str(tmp_path), group="mine"), csv=Csv()), tmp_path)
    run = read_run(find_runs(tmp_path)[0])
    assert [row["round"] for row in run.history if "clustered/top1" in row] == [0, 1]
    assert (run.exit_code, run.group) == (0, "mine")
    with (tmp_path / "training" / "version_0" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows if row["clustered/top1"]] == ["0", "1"]
    assert rows[-1]["top1_drop"] == "1.25"


def test_several_name_a_run_as_one_of_them_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_NAME", "named")
    monkeypatch.setenv("WANDB_RUN_ID", "0123")
    spec = Several(csv=Csv(), wandb=Wandb(project="p"))
    assert (spec.name_of(None, "seed=1"), spec.new_run_id(None), spec.group_of("sweep")) == ("named", "0123", "sweep")
    evaluating = spec.for_evaluation().wandb
    assert isinstance(evaluating, Wandb)
    assert evaluating.job_type == "evaluate"


TRACKIO = """
import sys
from pathlib import Path
import trackio
from pwfn.monitoring import Trackio
from tests.support.loggers.told_loggers import told
if len(sys.argv) == 2:
    told(Trackio(save_dir=sys.argv[1]), Path(sys.argv[1]))
else:
    port = int(sys.argv[2])
    trackio.show("pwfn", open_browser=False, block_thread=True, host="127.0.0.1", server_port=port, share=False)
"""


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is an extra")
@pytest.mark.skipif(None in (CHROMIUM, DRIVER), reason="there is no Chromium here")
def test_trackio_shows_the_rounds_in_its_dashboard(tmp_path: Path) -> None:
    folder = str(tmp_path / "trackio")
    environment = clean_environment(TRACKIO_DIR=folder, HF_HUB_OFFLINE="1", PYTHONPATH=str(PROJECT))
    start: dict[str, Any] = {"env": environment, "cwd": tmp_path}
    subprocess.run([sys.executable, "-c", TRACKIO, folder], check=True, timeout=300, **start)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dashboard = subprocess.Popen([sys.executable, "-c", TRACKIO, folder, str(port)], **start)
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    driver = None
    try:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        deadline = time.monotonic() + 180
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.2)
        driver.get(f"http://127.0.0.1:{port}/?project=pwfn")
        wanted = ("first 0123abcd", "top1_drop", "codebook_size")
        WebDriverWait(driver, 180).until(
            lambda there: all(text in there.execute_script("return document.body.innerText") for text in wanted)
        )
        driver.save_screenshot(str(tmp_path / "dashboard.png"))
    finally:
        if driver is not None:
            driver.quit()
        dashboard.terminate()
        dashboard.wait(60)
