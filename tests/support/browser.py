"""A real browser that opens pages from files: what its console says, what it asks the network for, how a page looks."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROGRAMS = ("chromium", "chromedriver")
WIDTHS = {"narrow": 390, "wide": 1400}
SCHEMES = ("light", "dark")

needs_browser = pytest.mark.skipif(
    find_spec("selenium") is None or not all(map(shutil.which, PROGRAMS)),
    reason="needs Chromium and selenium: make browser extras",
)


@contextmanager
def browser(folder: Path) -> Iterator["Chrome"]:
    """Chromium without a window, with its profile in a folder."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield driver
    finally:
        driver.quit()


def open_page(driver: "Chrome", path: Path, *, width: int = 1400, scheme: str = "light") -> None:
    """Opens a page of a file, in a window of a width, for a person who prefers light or dark."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preference = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
    driver.get(path.as_uri())


def complaints(driver: "Chrome") -> list[str]:
    """What the console has said since the last call: errors, warnings, breaches of the page's policy."""
    return [str(entry["message"]) for entry in driver.get_log("browser")]


def requests(driver: "Chrome") -> list[str]:
    """Addresses that the browser has been asked for since the last call, other than the content of the page itself."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "chrome:"))]  # chrome: is the empty window


def picture(driver: "Chrome", path: Path) -> Path:
    """Writes a picture of the whole page."""
    shot: dict[str, Any] = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))
    return path
