"""The page of docs/browser computes torch's logits, in Node and in a browser, and asks for its own folder alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import pwfn
from pwfn.bayesian.posterior import to_deterministic
from scripts import browser_page
from tests.support.browser import chromium, needs_chromium
from tests.support.clustered import clustered

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

DATA = {"mean": [0.449], "std": [0.226], "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}
CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # another engine's float32 arithmetic; pwfn.artifact.exports.exported has the same


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for 32 x 32 gray images, as the default run's is."""
    path = tmp_path_factory.mktemp("artifact") / "model.pwfn"
    network = clustered("test_resnet", channels=1)
    pwfn.save(path, network, data={**DATA, "input_size": [1, 32, 32]}, class_names=["a", "b", "c", "d", "e"])
    return path


@pytest.fixture(scope="module")
def page(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page without onnxruntime-web."""
    made = tmp_path_factory.mktemp("page")
    browser_page.make(artifact, made)
    return made


@pytest.fixture(scope="module")
def folder(page: Path) -> Path:
    """The page with everything it needs."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is not here")
    try:
        browser_page.install(page)
    except subprocess.SubprocessError as error:
        pytest.skip(f"npm cannot install onnxruntime-web: {getattr(error, 'stderr', None) or error}")
    return page


def expected(folder: Path) -> np.ndarray:
    return np.array([sample["logits"] for sample in json.loads((folder / "samples.json").read_text())])


def test_the_samples_are_what_the_network_is_tested_on(page: Path) -> None:
    samples = json.loads((page / "samples.json").read_text())
    assert [sample["label"] for sample in samples] == list(range(10))
    assert all(len(sample["pixels"]) == 64 and 200 < max(sample["pixels"]) <= 255 for sample in samples)
    told = json.loads((page / "settings.json").read_text())
    assert (told["size"], told["mean"], told["std"], told["classes"][0]) == (32, 0.449, 0.226, "a")
    assert {path.name for path in browser_page.SOURCES.iterdir()} <= {path.name for path in page.iterdir()}


def test_a_model_of_other_images_is_refused(tmp_path: Path) -> None:
    network = to_deterministic(clustered("test_resnet"))
    pwfn.save(tmp_path / "m.pwfn", network, data={**DATA, "crop_pct": 0.9, "input_size": [3, 32, 32]})
    with pytest.raises(ValueError, match="'channels', 'crop_pct=1'"):
        browser_page.settings(pwfn.describe(tmp_path / "m.pwfn"))


def test_a_file_that_is_no_artifact_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.pwfn").write_bytes(b"no artifact")
    monkeypatch.setattr(sys, "argv", ["browser_page.py", str(tmp_path / "m.pwfn"), str(tmp_path / "page")])
    with pytest.raises(SystemExit, match=r"^pwfn: .*m\.pwfn is not a pwfn artifact"):
        browser_page.main()
    assert not (tmp_path / "page").exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
@pytest.mark.parametrize(("size", "seed"), [(8, 0), (32, 1), (28, 2)])
def test_images_are_enlarged_as_pillow_does(size: int, seed: int, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    module = (browser_page.SOURCES / "classify.mjs").as_uri()
    program = f"""import {{ enlarge }} from {json.dumps(module)};
    console.log(JSON.stringify(Array.from(enlarge({pixels.ravel().tolist()}, 8, {size}))));"""
    (tmp_path / "program.mjs").write_text(program)
    out = subprocess.run(["node", tmp_path / "program.mjs"], capture_output=True, text=True, check=True, timeout=120)
    found = np.array(json.loads(out.stdout)).reshape(size, size)
    wanted = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    # 28 / 8 has no finite binary weights: Pillow's are rounded, and a tie may go the other way
    assert np.abs(found - wanted).max() <= (0 if 32 % size == 0 else 1)


def test_node_computes_the_logits_of_torch(folder: Path) -> None:
    out = subprocess.run(["node", "node.mjs"], cwd=folder, capture_output=True, text=True, check=True, timeout=300)
    torch.testing.assert_close(np.array(json.loads(out.stdout)), expected(folder), **CLOSE)


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The folder, served on a free port of this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join(30)


@pytest.fixture
def driver() -> Iterator[webdriver.Chrome]:
    with chromium(logged=True) as driver:
        yield driver


LOGITS = "return document.getElementById('answer').dataset.logits"


def opened(driver: webdriver.Chrome, address: str) -> Callable[[str], Any]:
    """The page at the address, once it is ready; returns what waits until a script's value is true."""
    driver.get(address)
    waiting = WebDriverWait(driver, 180)
    waiting.until(lambda there: there.execute_script("return document.documentElement.dataset.ready === 'true'"))
    return lambda script: waiting.until(lambda there: there.execute_script(script))


@pytest.mark.browser
@needs_chromium
def test_the_page_classifies_a_digit_offline(
    folder: Path, address: str, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    wait = opened(driver, address)
    for place, wanted in enumerate(expected(folder)):
        driver.find_element(By.ID, "clear").click()
        assert driver.execute_script(LOGITS) == "null"
        driver.find_elements(By.CSS_SELECTOR, "#samples button")[place].click()
        found = np.array(json.loads(wait(f"{LOGITS} !== 'null' && document.getElementById('answer').dataset.logits")))
        torch.testing.assert_close(found, wanted, **CLOSE)
        assert driver.find_element(By.ID, "answer").text == "abcde"[int(wanted.argmax())]
    assert len(driver.find_elements(By.CSS_SELECTOR, "#bars meter")) == 5
    driver.save_screenshot(str(tmp_path / "page.png"))
    assert driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert {f"{address}model.onnx", f"{address}samples.json"} <= set(sent)
    assert [url for url in sent if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.browser
@needs_chromium
def test_a_stroke_may_end_outside_of_the_canvas(address: str, driver: webdriver.Chrome) -> None:
    wait = opened(driver, address)
    canvas = driver.find_element(By.ID, "canvas")
    stroke = ActionChains(driver).move_to_element(canvas).click_and_hold()
    stroke.move_by_offset(int(canvas.size["width"]), 0).release().perform()
    assert wait(f"{LOGITS} !== 'null'")


@pytest.mark.browser
@needs_chromium
def test_the_page_says_what_is_missing(address: str, folder: Path, driver: webdriver.Chrome) -> None:
    model = (folder / "model.onnx").rename(folder / "away.onnx")
    try:
        driver.get(address)
        WebDriverWait(driver, 60).until(
            lambda there: "does not work: model.onnx: 404" in there.find_element(By.ID, "model").text
        )
    finally:
        model.rename(folder / "model.onnx")
