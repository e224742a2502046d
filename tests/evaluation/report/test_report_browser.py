"""The page in a real browser: it runs its own code and nothing of the data, and does what a reader asks of it."""

import time

import pytest

from tests.evaluation.hostile_texts import HOSTILE

WIDTHS = {"wide": 1280, "narrow": 375}
READY = "return document.documentElement.dataset.samples || ''"


@pytest.fixture
def open_page(browser, page_path):
    """Return a function that opens a section in a fresh page, of a given width and theme."""

    def open_at(section="", width=1280, theme="light"):
        browser.get("about:blank")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": theme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get_log("browser")
        browser.get(f"file://{page_path.parent}/{page_path.name}#{section}")
        if section.startswith("samples"):
            wait(lambda: browser.execute_script(READY))

    yield open_at
    browser.execute_script("localStorage.clear()")
    assert not browser.execute_script("return window.canary"), "a script of the data ran"
    assert browser.title.startswith("Evaluation of <b>base&1, tuned")
    assert browser.get_log("browser") == [], "errors, or a violation of the policy"
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def wait(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def all_of(browser, selector):
    from selenium.webdriver.common.by import By

    return browser.find_elements(By.CSS_SELECTOR, selector)


def shown(browser):
    return [section.get_attribute("id") for section in all_of(browser, ".page") if section.is_displayed()]


def choose(browser, name, value):
    """Set a filter, and return once its samples are shown."""
    before = browser.execute_script(READY)
    browser.execute_script(
        "const [id, value] = arguments, control = document.getElementById(id); control.value = value;"
        "control.dispatchEvent(new Event(control.type === 'search' ? 'input' : 'change'))",
        f"filter-{name}",
        value,
    )
    wait(lambda: browser.execute_script(READY) != before)


def status(browser):
    return all_of(browser, "#samples-status")[0].text


def screenshot(browser, tmp_path, name):
    path = tmp_path / f"{name}.png"
    assert browser.save_screenshot(str(path))
    assert path.stat().st_size > 20_000, "an empty page is smaller"


def test_one_section_at_a_time_by_the_contents(browser, open_page):
    open_page()
    assert shown(browser) == ["overview"]
    links = {link.get_attribute("hash"): link for link in all_of(browser, "#contents a")}
    assert len(links) == 6 + 11
    for anchor in ("#task-sa", "#comparisons", "#training", "#speed", "#glossary", "#task-10"):
        links[anchor].click()
        wait(lambda anchor=anchor: shown(browser) == [anchor[1:]])
        assert links[anchor].get_attribute("aria-current") == "page"
    browser.back()
    wait(lambda: shown(browser) == ["glossary"])


def test_the_skip_link_leads_to_the_section_that_is_shown(browser, open_page):
    open_page("task-sa")
    browser.execute_script("document.querySelector('.skip').click()")
    assert shown(browser) == ["task-sa"]
    assert browser.execute_script("return document.activeElement.id") == "main"


@pytest.mark.parametrize("section", ["100%", "main", "nowhere"])
def test_an_address_that_names_no_section_shows_the_first(browser, open_page, section):
    open_page(section)
    assert shown(browser) == ["overview"]


def test_the_title_of_a_new_section_has_the_focus(browser, open_page):
    open_page()
    assert browser.execute_script("return document.activeElement.tagName") == "BODY"
    browser.execute_script("location.hash = 'task-sa'")
    wait(lambda: browser.execute_script("return document.activeElement.id") == "task-sa-title")


def test_the_theme_follows_the_system_until_one_is_chosen(browser, open_page, tmp_path):
    ground = "return getComputedStyle(document.body).backgroundColor"
    line = "return getComputedStyle(document.querySelector('.plot .stroke-run-1')).stroke"
    found = {}
    for theme in ("light", "dark"):
        open_page(theme=theme)
        found[theme] = [browser.execute_script(script) for script in (ground, line)]
        screenshot(browser, tmp_path, f"overview-{theme}")
    assert found["light"][0] == "rgb(255, 255, 255)"
    assert found["light"][0] != found["dark"][0]
    assert found["light"][1] != found["dark"][1], "plots take the page's colours"
    (button,) = all_of(browser, "#theme-button")
    for name, theme in (
        ("Theme: light", "light"),
        ("Theme: dark", "dark"),
        ("Theme: auto", "dark"),
        ("Theme: light", "light"),
    ):
        button.click()
        assert button.text == name
        assert browser.execute_script(ground) == found[theme][0]
    browser.refresh()
    assert browser.execute_script(ground) == found["light"][0], "the choice is kept"


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_no_section_is_wider_than_the_window(browser, open_page, tmp_path, width):
    open_page("samples", width=width)
    for row in all_of(browser, "details.sample")[:3]:
        row.click()
    names = [section.get_attribute("id") for section in all_of(browser, ".page")]
    for name in names:
        browser.execute_script("location.hash = arguments[0]", name)
        wait(lambda name=name: shown(browser) == [name])
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
        if name in {"overview", "samples", "task-ave"}:
            screenshot(browser, tmp_path, f"{name}-{width}")
    if width < 900:
        assert not all_of(browser, "#contents")[0].is_displayed()
        all_of(browser, "#menu-button")[0].click()
        wait(all_of(browser, "#contents")[0].is_displayed)


def test_samples_are_filtered_searched_and_turned_over(browser, open_page, num_test):
    open_page("samples")
    assert status(browser) == f"1 to 25 of {num_test} samples"
    all_of(browser, "#page-after")[0].click()
    wait(lambda: status(browser) == f"26 to 40 of {num_test} samples")
    choose(browser, "task", "Product_Matching")
    assert status(browser).endswith(f"of {num_test + len(HOSTILE)} samples")
    choose(browser, "verdict", "wrong")
    chips = [chip.text for chip in all_of(browser, "details.sample .chip")][1::2]
    assert chips == ["wrong"] * len(chips)
    choose(browser, "verdict", "")
    choose(browser, "text", "REVERSED" if "reversed" in "".join(HOSTILE) else "gnirts DESREVER")
    assert status(browser) == "1 to 1 of 1 samples"
    assert all_of(browser, "mark")[0].text == "gnirts desrever"
    choose(browser, "text", "")
    choose(browser, "task", "")
    choose(browser, "setting", "")
    assert status(browser) == f"1 to 25 of {26 * num_test + 2 * len(HOSTILE):,} samples"
    choose(browser, "text", "no such text anywhere")
    assert status(browser) == "No sample passes these filters."


def test_the_worst_samples_of_the_best_run_come_first(browser, open_page):
    open_page("samples")
    chips = [chip.text for chip in all_of(browser, "details.sample .chip")][1::2]
    order = ["unreadable", "wrong", "partly right", "right"]
    assert chips == sorted(chips, key=order.index)
    assert len(set(chips)) > 2


def test_two_runs_are_compared_on_the_same_sample(browser, open_page):
    open_page("samples")
    choose(browser, "task", "Product_Matching")
    choose(browser, "verdict", "right")
    choose(browser, "other-verdict", "wrong")
    rows = all_of(browser, "details.sample")
    assert len(rows) > 5
    rows[0].click()
    cards = wait(lambda: all_of(rows[0], ".answer"))
    names, chips = zip(*(card.text.split("\n")[:2] for card in cards[1:]), strict=True)
    assert names == ("<b>base&1", "tuned")
    assert chips == ("wrong", "right")
    assert "strict: correct 0" in cards[1].text
    assert "strict: correct 1" in cards[2].text
    assert cards[0].text.split("\n")[1] == cards[2].text.split("\n")[2], "the right answer is the reference"
    body = all_of(rows[0], ".sample-body")[0].text
    assert "Instruction" in body
    assert "product 1:\n" in body, "JSON is laid out"


def test_a_task_page_leads_to_its_unreadable_answers(browser, open_page):
    open_page("task-sa")
    link = next(
        link for link in all_of(browser, "#task-sa a") if "verdict=unreadable" in (link.get_attribute("href") or "")
    )
    number = link.text
    link.click()
    wait(lambda: shown(browser) == ["samples"])
    wait(lambda: f"of {number} samples" in status(browser))
    assert browser.execute_script("return document.getElementById('filter-task').value") == "Sentiment_Analysis"


def test_a_task_page_leads_to_its_samples_whatever_was_asked_before(browser, open_page):
    open_page("samples")
    for name, value in (("run", "0"), ("other", "0"), ("order", "best"), ("verdict", "wrong")):
        choose(browser, name, value)
    before = browser.execute_script(READY)
    browser.execute_script("location.hash = document.querySelector('#task-sa .button').hash")
    wait(lambda: browser.execute_script(READY) != before)
    names = ("task", "run", "other", "order", "verdict")
    script = "return arguments[0].map((name) => document.getElementById(`filter-${name}`).value)"
    assert browser.execute_script(script, names) == ["Sentiment_Analysis", "1", "0", "worst", ""]


def test_a_shortened_prompt_is_told_of(browser, open_page):
    open_page("samples")
    choose(browser, "task", "Product_Matching")
    choose(browser, "text", "x" * 50)
    (row,) = all_of(browser, "details.sample")
    row.click()
    cards = wait(lambda: all_of(browser, ".answer"))
    assert ["the prompt was shortened" in card.text for card in cards] == [False, True, True]


def test_hostile_texts_are_shown_as_they_are(browser, open_page):
    open_page("samples")
    choose(
        browser,
        "task",
        next(o.get_attribute("value") for o in all_of(browser, "#filter-task option") if "<img" in o.text),
    )
    choose(browser, "setting", "")
    choose(browser, "order", "row")
    rows = all_of(browser, "details.sample")
    assert len(rows) == len(HOSTILE)
    for row in rows:
        row.find_element("tag name", "summary").click()
    wait(lambda: len(all_of(browser, ".sample-body")) == len(HOSTILE))
    text = browser.execute_script("return document.getElementById('samples-list').textContent")
    for hostile in HOSTILE[:5] + HOSTILE[7:8] + HOSTILE[9:10]:
        assert hostile in text
    assert "U+202Egnirts desreverU+202C U+2066isolate" in text
    assert "lineU+2028separatorU+2029 and NUL U+0000 and bell U+0007" in text
    assert "90,000 more characters are in the Parquet files" in text
    assert not all_of(
        browser, "#samples-list img, #samples-list svg, #samples-list script, #samples-list style, #samples-list a"
    )


def test_without_javascript_and_on_paper_all_sections_are_there(browser, open_page):
    open_page()

    def height():
        return browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["height"]

    one = height()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert height() > 4 * one
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert height() > 4 * one
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.refresh()
