"""A page in headless Chromium: what a person does with it."""

import csv
import json
import pathlib
import shutil
import time

import page_fakes
import pytest

from noisyjax.tool.page import decisions, page

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
_DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER), reason="Chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("page")
    page.write(made / "page.html", page_fakes.small())
    return made


@pytest.fixture(scope="module")
def driver(folder):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    # Containers have no user but root, and little shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1300,900")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
    try:
        yield made
    finally:
        made.quit()


@pytest.fixture
def browser(driver, folder):
    """The page, newly opened; each test ends with nothing fetched and no complaint."""
    driver.get((folder / "page.html").as_uri())
    yield driver
    assert driver.execute_script("return window.harm") is None
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"].endswith("WillBeSent")]
    assert [url for url in asked if url.partition(":")[0] not in ("file", "data", "blob")] == []
    driver.execute_script("localStorage.clear()")


def _all(browser, selector):
    return browser.find_elements("css selector", selector)


def _texts(browser, number):
    """What a column of the table shows, of the rows that are."""
    cells = _all(browser, f"tbody tr:not([hidden]) td:nth-child({number})")
    return [cell.text for cell in cells]


def _choose(select, text):
    from selenium.webdriver.support.ui import Select

    Select(select).select_by_visible_text(text)


def _exported(browser, folder):
    path = folder / "decisions.csv"
    path.unlink(missing_ok=True)
    browser.find_element("id", "export").click()
    end = time.monotonic() + 20
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return path


def test_it_opens_with_the_first_case(browser):
    assert browser.title == f"Audit of {page_fakes.HARM}"
    assert len(_texts(browser, 1)) == 12
    assert _all(browser, "#case h2")[0].text == page_fakes.HARM
    assert len(_all(browser, "#case svg path.outline")) == 3
    assert len(_all(browser, "#case svg path.region")) == 1
    assert _all(browser, "#position")[0].text == "1 of 3"
    loaded = "return document.querySelector('#case image').getBBox().width"
    assert browser.execute_script(loaded) == 512
    # The case without pictures is no link.
    assert len(_all(browser, "tbody a")) == 9


def test_it_sorts_by_click_and_by_keyboard(browser):
    from selenium.webdriver.common import keys

    case, _, dice, _ = _all(browser, "thead th button")
    dice.click()
    assert _texts(browser, 3)[:4] == ["0.25", "0.26", "0.27", "0.5"]
    # What is missing stays at the end.
    assert _texts(browser, 3)[-3:] == ["–"] * 3
    dice.click()
    assert _texts(browser, 3)[0] == "0.77"
    assert _texts(browser, 3)[-3:] == ["–"] * 3
    case.send_keys(keys.Keys.ENTER)
    assert _texts(browser, 1)[3:10:3] == ["case_2", "case_3", "case_10"]
    order = [head.get_attribute("aria-sort") for head in _all(browser, "thead th[aria-sort]")]
    assert order == ["ascending", "none", "none", "none"]


def test_it_filters(browser):
    box = _all(browser, ".filter")[0]
    box.send_keys("case_1 anna")
    assert _texts(browser, 1) == ["case_10"]
    assert _all(browser, ".shown")[0].text == "1 of 12 rows"
    box.clear()
    _choose(_all(browser, "select[data-column='1']")[0], page_fakes.HARM)
    assert _texts(browser, 2) == [page_fakes.HARM] * 4
    _choose(_all(browser, "select[data-column='3']")[0], "shifted")
    assert _texts(browser, 1) == []


def test_rows_open_pictures_and_contours_can_be_switched_off(browser):
    _all(browser, "tbody a")[6].click()
    assert _all(browser, "#case h2")[0].text == "case_10"
    assert _all(browser, "#position")[0].text == "3 of 3"
    browser.find_element("id", "previous").click()
    assert _all(browser, "#case h2")[0].text == "case_2"
    boxes = _all(browser, "#legend input")
    assert len(boxes) == 4
    boxes[1].click()
    shown = [path.is_displayed() for path in _all(browser, "#case path.outline")]
    assert shown == [True, False, True]


def test_it_exports_decisions_and_keeps_and_loads_them(browser, folder):
    from selenium.webdriver.common import keys

    def selects():
        return _all(browser, "td.decision select")

    assert _all(browser, "#count")[0].text == "0 of 12 decided"
    _choose(selects()[1], "drop")
    _choose(selects()[5], "weight")
    weight = _all(browser, "td.decision input")[5]
    weight.send_keys(keys.Keys.CONTROL + "a", keys.Keys.NULL, "0.25", keys.Keys.TAB)
    # Beside the pictures there is the same one.
    beside = _all(browser, "#case .decision select")
    assert [one.get_attribute("value") for one in beside] == ["", "drop", ""]
    _choose(beside[2], "mend")
    assert _all(browser, "#count")[0].text == "3 of 12 decided"
    harm, second = page_fakes.HARM, page_fakes.RATERS[2]
    wanted = [
        (harm, harm, "drop", 1.0),
        (harm, second, "mend", 1.0),
        ("case_2", second, "weight", 0.25),
    ]
    path = _exported(browser, folder)
    raters = dict.fromkeys(page_fakes.DICE, page_fakes.RATERS)
    assert decisions.read(path, raters) == wanted

    # Opened again it knows them; where the browser has lost them the file says them.
    browser.refresh()
    assert _all(browser, "#count")[0].text == "3 of 12 decided"
    assert selects()[1].get_attribute("value") == "drop"
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    assert _all(browser, "#count")[0].text == "0 of 12 decided"
    with open(path, "a", newline="") as file:
        csv.writer(file).writerow(("case_99", "", "drop", ""))
    kept = pathlib.Path(path).rename(folder / "kept.csv")
    browser.find_element("id", "load").send_keys(str(kept))
    assert _all(browser, "#message")[0].text == "3 loaded, 1 of other cases or words left out"
    assert decisions.read(_exported(browser, folder), raters) == wanted
    _choose(_all(browser, "select.decided")[0], "mend")
    assert _texts(browser, 2) == [second]


def test_it_prints_the_pictures_of_the_rows_that_are_shown(browser):
    _all(browser, ".filter")[0].send_keys("case_")
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    heads = browser.execute_script(
        "return [...document.querySelectorAll('#printed h2')].map((head) => head.textContent)"
    )
    assert heads == ["case_2", "case_10"]


def test_a_narrow_window_has_nothing_that_sticks_out(browser):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
