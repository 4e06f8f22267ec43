import base64
import hashlib
import html.parser
import json
import pathlib
import re

import numpy as np
import page_fakes
import pytest

from noisyjax.tool.page import page, views


class _Elements(html.parser.HTMLParser):
    """Tags, and texts in them, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))

    def handle_data(self, data):
        if self.tags:
            self.texts.append((self.tags[-1][0], data))


@pytest.fixture(scope="module")
def elements():
    return _Elements(page.render(page_fakes.small()))


def _of(elements, tag):
    return [attributes for name, attributes in elements.tags if name == tag]


def test_names_with_markup_are_texts(elements):
    assert not [tag for tag, attributes in elements.tags if "onerror" in attributes]
    # Pictures are made by the script, from texts.
    assert _of(elements, "img") == []
    scripts = _of(elements, "script")
    assert [s.get("type") for s in scripts] == ["application/json"] * 3 + [None]
    assert f"The label of {page_fakes.HARM} is wrong." in [text for _, text in elements.texts]
    values = [attributes["data-value"] for attributes in _of(elements, "td")[:-1:5]]
    assert values == [name for name in page_fakes.DICE for _ in page_fakes.RATERS]


def test_cases_are_json_as_they_were(elements):
    texts = [text for tag, text in elements.texts if tag == "script" and text.startswith("{")]
    first = json.loads(texts[0])
    assert first["name"] == page_fakes.HARM
    assert first["facts"] == {page_fakes.HARM: page_fakes.HARM}
    assert list(first["views"][0]["outlines"]) == list(page_fakes.RATERS)


def test_only_the_script_and_style_of_the_page_are_allowed(elements):
    policy = next(a["content"] for a in _of(elements, "meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    contents = {tag: text for tag, text in elements.texts if tag in ("style", "script")}
    for tag in ("style", "script"):
        digest = hashlib.sha256(contents[tag].encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_nothing_is_fetched():
    text = page.render(page_fakes.small())
    # The name of SVG's elements is no address.
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", text)


def test_cells():
    columns = [page.Column("case", "case"), page.Column("dice", "Dice", "number")]
    cells = [0.123456, np.float32(0.5), 3, np.int64(4), None, float("nan"), float("inf")]
    table = page.Table("Cases", columns, [["a", cell] for cell in cells])
    found = _Elements(page.render(page.Page("Title", "Done.", "Found.", [table])))
    values = [a["data-value"] for a in _of(found, "td") if a["class"] == "number"]
    assert values == ["0.123456", "0.5", "3", "4", "", "", "inf"]
    shown = [text for tag, text in found.texts if tag == "td" and text.strip()][1::2]
    assert shown == ["0.1235", "0.5", "3", "4", "–", "–", "inf"]


def test_columns_of_few_texts_have_a_choice(elements):
    assert [a["data-column"] for a in _of(elements, "select") if "data-column" in a] == ["1", "3"]


def test_three_hundred_cases_are_below_thirty_megabytes():
    # As rough as an image of noise whose voxels are a few pixels wide; six labels of a fold each.
    image = np.random.default_rng(0).normal(size=(60, 60, 9))
    radius = np.hypot(*np.mgrid[-30:30, -30:30])
    labels = {
        f"rater_{r}": np.repeat((radius < 12 + r)[..., None], 9, axis=2).astype(np.uint8)
        for r in range(6)
    }
    drawn = views.views(image, labels, (1.0, 1.0, 1.0))
    assert len(drawn) == 3
    names = [f"case_{number}" for number in range(300)]
    columns = [page.Column("case", "case"), page.Column("rater", "rater")]
    rows = [[name, f"rater_{r}"] for name in names for r in range(5)]
    made = page.Page(
        "Title",
        "Done.",
        "Found.",
        [page.Table("Labels", columns, rows)],
        [page.Case(name, drawn) for name in names],
        decide=True,
    )
    assert len(page.render(made).encode()) < 30_000_000


def test_a_page_that_cannot_be_made_is_a_problem_and_no_more(tmp_path):
    path = tmp_path / "page.html"
    assert page.try_to_write(path, page_fakes.small) == []
    before = path.read_text()

    def fails():
        raise RuntimeError("no\npictures")

    assert page.try_to_write(path, fails) == [
        f"{path}: expected a page, got RuntimeError: no pictures"
    ]
    assert path.read_text() == before


def test_what_belongs_to_it_is_in_the_package():
    folder = pathlib.Path(page.__file__).parent
    assert {path.suffix for path in folder.glob("page.*")} == {".py", ".html", ".css", ".js"}
