"""Pages in a real browser: no error, no request, nothing wider than the window, in light and dark, narrow and wide."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import SCHEMES, WIDTHS, browser, complaints, needs_browser, open_page, picture, requests
from tests.support.run_folders import ended_run, new_run, png, sweep_of_six
from tfscale import cli
from tfscale.report.page import LIMIT

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def pages(folder: Path) -> dict[str, Path]:
    """The pages of a run, of a hostile one, of an empty one, of a comparison and of a sweep of six."""
    shared = ended_run(folder, "shared", "strategy=sharing", shares=True, ranks=2)
    (shared / "confusion.png").write_bytes(png(64))
    ended_run(folder, "plain")
    new_run(folder, "empty")
    sweep_of_six(folder)
    hostile = ended_run(folder, "hostile")
    text = (hostile / "summary.json").read_text().replace("accuracy", "<img src=http://127.0.0.1:1/x onerror=alert(1)>")
    (hostile / "summary.json").write_text(text)
    (hostile / "environment.json").write_text('{"command": "<script>alert(1)</script>"}')
    calls = {"run": "shared", "hostile": "hostile", "empty": "empty", "several": "shared plain empty", "sweep": "sweep"}
    for name, words in calls.items():
        assert cli.main(["report", *words.split(), f"run.dir={folder}", f"to={folder / name}.html"]) == 0
    return {name: folder / f"{name}.html" for name in calls}


def test_no_error_no_request_nothing_too_wide(driver: "Chrome", tmp_path: Path) -> None:
    found = pages(tmp_path)
    assert len(found) == 5
    for name, page in found.items():
        assert page.stat().st_size <= LIMIT
        for scheme in SCHEMES:
            for width in WIDTHS:
                driver.get("about:blank")
                requests(driver)
                open_page(driver, page, width=WIDTHS[width], scheme=scheme)
                assert complaints(driver) == []
                assert requests(driver) == [page.as_uri()]
                wide, window = driver.execute_script(
                    "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                )
                assert wide <= window, (name, width)
                assert picture(driver, tmp_path / f"{name}-{scheme}-{width}.png").stat().st_size > 5000
                assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == (
                    "rgb(245, 246, 248)" if scheme == "light" else "rgb(18, 21, 26)"
                )


def test_a_picture_from_elsewhere_would_be_seen_and_is_refused(driver: "Chrome", tmp_path: Path) -> None:
    """The test above proves nothing if the browser reports nothing."""
    page = pages(tmp_path)["run"]
    page.write_text(page.read_text().replace("<main>", "<main><img src='http://127.0.0.1:9/x.png'><script>1</script>"))
    open_page(driver, page)
    said = complaints(driver)
    assert len([line for line in said if "Content Security Policy" in line]) == 2, said


def test_a_table_sorts_by_numbers_and_a_key_press(driver: "Chrome", tmp_path: Path) -> None:
    open_page(driver, pages(tmp_path)["sweep"])

    def column(index: int) -> list[str]:
        rows = "[...document.querySelectorAll('.sortable tbody tr')]"
        return driver.execute_script(f"return {rows}.map(row => row.cells[arguments[0]].innerText)", index)

    def press(index: int) -> None:
        from selenium.webdriver.common.keys import Keys

        driver.find_elements("css selector", ".sortable thead button")[index].send_keys(Keys.ENTER)

    press(4)
    assert column(4) == ["0.7", "0.75", "0.75", "0.8", "0.85", "0.9", ""]
    press(4)
    assert column(4) == ["0.9", "0.85", "0.8", "0.75", "0.75", "0.7", ""]
    assert column(0)[0].startswith("job-004")
    sorts = "return document.querySelectorAll('.sortable thead th')[4].getAttribute('aria-sort')"
    assert driver.execute_script(sorts) == "descending"
    press(2)
    assert column(2) == ["0.003", "0.003", "0.01", "0.01", "0.1", "0.1", "0.5"]


def test_charts_are_used_without_a_mouse(driver: "Chrome", tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    open_page(driver, pages(tmp_path)["run"])
    plot = driver.find_elements("css selector", ".plot")[0]
    values = "document.querySelector('.plot').querySelectorAll('.u-value')"
    value = f"return [...{values}].map(each => each.textContent)"
    plot.send_keys(Keys.HOME)
    assert driver.execute_script(value)[:2] == ["1", "0.9802"]
    plot.send_keys(Keys.ARROW_RIGHT)
    assert driver.execute_script(value)[:2] == ["2", "0.9608"]
    name = driver.find_elements("css selector", ".plot .u-series th")[1]
    assert name.get_attribute("aria-pressed") == "true"
    name.send_keys(Keys.ENTER)
    assert name.get_attribute("aria-pressed") == "false"
    Select(driver.find_element("id", "axis")).select_by_value("examples")
    plot.send_keys(Keys.END)
    assert driver.execute_script(value)[0] == "3200"
    names = driver.find_elements("css selector", ".plot .u-series th")
    assert names[1].get_attribute("aria-pressed") == "false", "a hidden line stays hidden"
    Select(driver.find_element("id", "axis")).select_by_value("seconds")
    plot.send_keys(Keys.END)
    assert driver.execute_script(value)[0] == "0.4"
    Select(driver.find_element("id", "smoothing")).select_by_value("0.95")
    driver.find_elements("css selector", ".chart input[type=checkbox]")[0].click()
    assert complaints(driver) == []


def test_paper_is_light(driver: "Chrome", tmp_path: Path) -> None:
    open_page(driver, pages(tmp_path)["run"], scheme="dark")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    document = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(document["data"]) > 20_000
    assert complaints(driver) == []
