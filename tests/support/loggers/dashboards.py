"""Look at a logger's own dashboard, on this machine, in headless Chromium."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import chromium

SECONDS = 180


def free_port() -> int:
    """Return a port of 127.0.0.1 at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def look_at(command: list[str], port: int, page: str, wanted: Collection[str], folder: Path, **variables: str) -> None:
    """Start a dashboard and read a page of it until every text of `wanted` is on it.

    Args:
        command: starts the dashboard.
        port: at which it listens.
        page: path of the page.
        wanted: texts; it is a failure where one does not appear.
        folder: in which it is started, and the picture dashboard.png is left.
        variables: the dashboard's environment.
    """
    dashboard = subprocess.Popen(command, cwd=folder, env=variables)
    try:
        with chromium() as driver:
            deadline = time.monotonic() + SECONDS
            while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
                time.sleep(0.2)
            driver.get(f"http://127.0.0.1:{port}/{page}")
            WebDriverWait(driver, SECONDS).until(
                lambda there: all(text in there.execute_script("return document.body.innerText") for text in wanted)
            )
            driver.save_screenshot(str(folder / "dashboard.png"))
    finally:
        dashboard.terminate()
        dashboard.wait(60)
