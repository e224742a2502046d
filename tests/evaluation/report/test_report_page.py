"""The page as a file: sound, closed to the network, and saying what the figures say."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ecellm.evaluation.report.about import describe_evaluation
from ecellm.evaluation.report.write import write_report
from ecellm.storage import Storage
from tests.evaluation.hostile_texts import CANARY, HOSTILE_TASK
from tests.evaluation.made_up_runs import report_shard

VOID = {"meta", "br", "link", "img", "input"}


class Outline(HTMLParser):
    """Collects what a browser would see: tags, attributes, text, and the bodies of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.text, self.bodies = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"script", "style"}:
            self.bodies.append((tag, dict(attrs).get("type"), ""))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"script", "style"}:
            tag, kind, text = self.bodies.pop()
            self.bodies.append((tag, kind, text + data))
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def page(page_path):
    return page_path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(page):
    outline = Outline()
    outline.feed(page)
    outline.close()
    return outline


@pytest.fixture(scope="module")
def text(outline):
    return re.sub(r"\s+", " ", "".join(outline.text))


def test_tags_nest_and_ids_are_unique(outline):
    assert outline.open == []
    ids = [value for _, name, value in outline.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    targets = [value for _, name, value in outline.attributes if name in {"href", "aria-labelledby", "aria-controls"}]
    assert {target.removeprefix("#").split("?")[0] for target in targets} <= set(ids)


def test_tables_that_scroll_can_be_reached_and_have_names(page):
    scrolled = re.findall(r'<div class="scroll"([^>]*)>', page)
    assert len(scrolled) > 20
    assert all(re.fullmatch(r' tabindex="0" role="group" aria-label="[^"]+"', attributes) for attributes in scrolled)
    assert 'scope="rowgroup"' in page
    assert 'scope="colgroup"' not in page


def test_nothing_leads_out_of_the_page(outline):
    links = [value for _, name, value in outline.attributes if name in {"href", "src", "action", "srcset", "data"}]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not {"img", "iframe", "object", "embed", "base", "form", "link"} & set(outline.tags)


def test_the_policy_allows_just_the_pages_own_code(outline):
    (policy,) = [value for tag, name, value in outline.attributes if tag == "meta" and value.startswith("default-src")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    hashes = {"script": [], "style": []}
    for tag, kind, body in outline.bodies:
        if kind is None:
            hashes[tag].append(f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'")
    assert rules["script-src"].split() == hashes["script"]
    assert rules["style-src"].split() == hashes["style"]
    assert not [name for _, name, _ in outline.attributes if name == "style" or name.startswith("on")]


def test_packed_samples_cannot_end_their_element(outline):
    packed = [body for _, kind, body in outline.bodies if kind == "application/gzip"]
    assert len(packed) == 26 + 1 + 1, "the places of ten tasks in three settings, the hostile task, and the index"
    assert all(re.fullmatch(r"[A-Za-z0-9+/=]+", body) for body in packed)


def test_hostile_texts_are_text(page, outline, text):
    assert CANARY not in "".join(body for _, _, body in outline.bodies)
    assert f"</script><script>{CANARY}" in text, "as an example of an answer that could not be read"
    assert HOSTILE_TASK.replace("_", " ") in text
    assert "<b>base&1" in text
    assert not re.search(r"[\x00-\x08\u202a-\u202e\u2066-\u2069\u2028\u2029\u200b]", page)
    assert "⟨U+202E⟩gnirts desrever" in text
    assert "(100,000 characters)" in text
    assert len(page) < 3_000_000


def test_it_says_how_many_tasks_are_above_the_trivial_answer_and_which_are_not(text):
    assert re.search(r"Tasks above the floor \d+ of 14 tests \d+ of 9 in domain, \d of 5 out of domain", text)
    assert re.search(r"No better than what needs no language model: tuned is not above the floor here\.", text)
    assert re.search(r"Product Substitute Identification, IND diverse: f1 0\.\d+, always-yes 0\.\d+", text)
    assert re.search(r"Out of domain 0\.\d+ (lower|higher) mean over the 5 tasks that have both", text)


def test_a_figure_below_the_trivial_answer_is_marked_wherever_it_stands(page):
    row = page[page.index('href="#task-psi">Product Substitute') :]
    cells = re.findall(r'<td><span class="value (\w+)">0\.\d+ <span class="mark" role="img" aria-label="([^"]+)"', row)
    assert cells[:2] == [("below", "below the floor")] * 2
    tile = page[page.index('id="task-psi-title"') :]
    assert re.search(r'<p class="tile-value below">', tile)


def test_both_flavours_and_their_intervals_are_there(text):
    assert re.search(r"Product Matching ?f1 0\.\d+ \S \[0\.\d+, 0\.\d+\] ?released 0\.\d+", text)
    assert "value_recall" in text, "a metric that only strict has"


def test_figures_of_the_paper_that_must_not_be_compared_say_why(text):
    assert "None of them may be compared:" in text
    assert "0.995" in text, "eCeLLM-L on Product_Matching"
    assert "Where the samples come from is not known." in text
    assert "\N{MINUS SIGN}0." not in text[text.index("Beside the paper") : text.index("The runs")], "no differences"


def test_a_task_page_says_that_the_papers_figures_must_not_be_compared(page):
    section = page[page.index('id="task-sa"') : page.index('id="task-sr"')]
    paper = re.findall(r'<tr class="paper([^"]*)">.*?</tr>', section, flags=re.DOTALL)
    assert paper
    assert set(paper) == {" incomparable"}
    assert section.count(">not comparable</span>") == len(paper)
    assert "They must not be compared with ours: where the samples come from is not known" in section


def test_each_task_has_metrics_slices_confusion_and_failures(page):
    for task, parts in {
        "task-sa": ("By right answer", "By product category", "By length of the prompt", "Which answer for which"),
        "task-ave": ("By attribute", "Answers that could not be read"),
        "task-qpr": ("By number of candidates",),
        "task-sr": ("By right answer", "Which answer for which"),
    }.items():
        section = page[page.index(f'id="{task}"') :]
        section = section[: section.index("</section>")]
        for part in ("All metrics", *parts):
            assert f"<h2>{part}</h2>" in section, (task, part)
        assert 'role="img"' in section
    assert "names a choice amid other text" in page
    assert "empty answer" in page


def test_speed_cost_training_and_p_values_are_there(text):
    assert re.search(r"0\.012\d? USD|0\.01 USD", text)
    assert "loss on the answers" in text
    assert re.search("best validation loss ?0.075 after step 40", text)
    assert "p adjusted" in text


def test_the_evaluation_itself_is_described(evaluated, text):
    about = text[text.index("About this evaluation") : text.index("Figures that are absent")]
    assert re.search(r"samples ?samples", about)
    assert "ecellm" in about


def test_what_an_evaluation_says_of_itself_comes_from_its_record(tmp_path):
    for name, content in {
        "samples/_manifest.json": {"job": "build", "rows": 50_080, "fingerprint": "0123" * 4},
        "scores/_run.json": {"config": {"num_resamples": 10_000, "seed": 1}},
    }.items():
        Storage().write_json(str(tmp_path / name), content)
    about = describe_evaluation(Storage(), str(tmp_path / "samples"), str(tmp_path / "scores"))
    known = {name: value for name, value in about.facts.items() if name != "ecellm"}
    assert about.num_resamples == 10_000
    assert known == {
        "samples": "samples",
        "samples made by": "build",
        "rows of the samples": "50,080",
        "their fingerprint": "012301230123",
        "resamples": "10,000",
        "seed": "1",
    }


def test_a_task_without_a_scorer_is_said_to_have_none(page):
    assert "no scorer" in page
    assert not re.search(r"<th[^>]*>none|>none<", page)


def test_models_are_named_without_their_directories(page):
    assert '<span title="tiny + /models/&lt;script&gt;">tiny + &lt;script&gt;</span>' in page


def test_the_same_files_give_the_same_page(evaluated, page, page_path):
    rerender(evaluated)
    assert page_path.read_text(encoding="utf-8") == page


def rerender(evaluated, **changes):
    changes = {"output_dir": evaluated.output_dir} | changes
    return write_report(report_shard(evaluated), storage_config={}, **changes)


def test_a_page_that_cannot_hold_all_answers_says_so(evaluated, page, page_path):
    rerender(evaluated, max_answers=500)
    capped = page_path.read_text(encoding="utf-8")
    page_path.write_text(page, encoding="utf-8")
    shown = re.search(r"The page holds ([\d,]+) of ([\d,]+) answers", capped)
    assert 400 <= int(shown[1].replace(",", "")) <= 500
    assert shown[2] == f"{2 * (26 * 40 + 24):,}"
    assert "All 2,128 answers." in page


def test_tables_without_strict_figures_are_shown_by_the_released_ones(evaluated, tmp_path):
    for table in ("metrics", "scores"):
        for part in Path(evaluated.output_dir, table, "data").glob("*.parquet"):
            rows = pq.ParquetFile(part).read()
            target = tmp_path / table / "data" / part.name
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows.filter(pc.equal(rows["flavour"], "released")), target)
    found = rerender(evaluated, output_dir=str(tmp_path))
    assert {row["flavour"] for row in found["details"]["headline"]} == {"released"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Figures are the released scorer's" in page
    assert '<span class="sub released">' not in page
