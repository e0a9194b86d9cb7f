"""A headless Chromium, and a person who reads the report in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = 1280, 360
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium: apt-get install chromium chromium-driver"
)
MARKS = [pytest.mark.browser, needs_chromium]


@contextmanager
def chromium(*flags: str, logged: bool = False) -> Iterator[webdriver.Chrome]:
    """Start a headless Chromium and quit it in the end; `logged`: keep what it says and what it asks for."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    if logged:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Reader:
    """A person at the page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = DESKTOP, **media: str) -> None:
        """With a forgotten log, and `media` such as prefers_color_scheme="dark"."""
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.prefer(**{"prefers_color_scheme": "light", **media})
        self.driver.get(page.as_uri())

    def prefer(self, media: str = "", **features: str) -> None:
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": named})

    def read(self, page: Path, **how: Any) -> Reader:
        self.open(page, **how)
        self.wait("return document.documentElement.dataset.ready === 'true'")
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: self.run(script))

    def requests(self) -> list[str]:
        """Every address that was asked for, but for the page and what lies within it."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def names(self) -> list[str]:
        """Of the runs that are seen, in order."""
        return list(
            self.run(
                "return [...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden)"
                ".map(r => r.cells[0].textContent.trim())"
            )
        )

    def filter(self, text: str) -> list[str]:
        box = self.driver.find_element(By.ID, "filter")
        box.clear()
        box.send_keys(text or " ")
        return self.names()

    def sort(self, key: str) -> list[str]:
        self.driver.find_element(By.CSS_SELECTOR, f"#table th[data-key='{key}'] button").click()
        return self.names()

    def points(self, chart: str) -> list[tuple[float, float]]:
        """Of the runs in one of the charts of accuracy against size."""
        traces = self.run(
            "return document.getElementById(arguments[0]).data.filter(t => t.customdata).map(t => [t.x, t.y])", chart
        )
        return sorted(pair for x, y in traces for pair in zip(x, y, strict=True))
