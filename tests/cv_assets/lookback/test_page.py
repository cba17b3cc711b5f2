"""The page: what comes from outside is shown and does nothing; everything needed is inside."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.markdown import Markdown

from cv_assets.lookback.explanation import Explanation, Fact, Finding, Picture, Section, Source
from cv_assets.lookback.page import Links, as_html, as_markdown
from cv_assets.lookback.words import settings, tally
from cv_assets.words import counted, listed, visible

PNG = "data:image/png;base64,iVBORw0KGgo="
MADE = Source(
    "c" * 40, "tables/raw_frames/d1.parquet", "run-1", "code-1", "i" * 40, datetime(2026, 3, 2, tzinfo=UTC)
)
BY_HAND = Source("d" * 40, "tables/inspections/d1.parquet")
LINKS = Links(
    lambda one: f"file:///lake/{one.path}", lambda run: f"http://127.0.0.1:3000/runs/{run}", lambda _: PNG
)


def explanation(said="a fact", **changed):
    facts = (Fact("capture", said, said, MADE), Fact("verdict", "verdict", said, BY_HAND, missing=True))
    default = {
        "part": said,
        "title": f"Why part {said} failed inspection",
        "in_short": (said,),
        "sections": (Section("Capture", facts, (Picture(said, MADE),)),),
        "findings": (Finding(True, said), Finding(False, said)),
        "pin": "e" * 40,
        "verdict": "FAIL",
        "release": None,
        "approver": None,
    }
    return Explanation(**{**default, **changed})


class Read(HTMLParser):
    """What a browser would see: the tags with their attributes, and the text outside style."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.inside = [], [], []
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside.append(tag)

    def handle_data(self, data):
        if self.inside[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def names(self):
        return {tag for tag, _ in self.tags}


PLAIN = Read(as_html(explanation(), LINKS))


@given(said=st.text(min_size=1).filter(lambda one: visible(one).strip()))
@example("<script>alert(1)</script>")
@example("[x](javascript:alert(1))")
@example("![x](https://e.example/x.png)")
@example("a | b | c")
@example("`code` **bold** _it_ ~~no~~ # no - no 1. no > no")
@example("\\| \\\\ &lt;b&gt; &#60;b&#62;")
@example("https://e.example <https://e.example> me@e.example")
@example("\u202etxet\u0007\x1b[31mred\n\n# heading\n\n    code")
@example("---")
def test_whatever_comes_from_outside_is_shown_as_it_is_and_adds_no_element(said):
    read = Read(as_html(explanation(said), LINKS))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in PLAIN.tags]
    assert "".join(read.texts).count(visible(said)) >= 7
    urls = [
        value for _, attributes in read.tags for name, value in attributes.items() if name in ("href", "src")
    ]
    assert urls == [
        value for _, found in PLAIN.tags for name, value in found.items() if name in ("href", "src")
    ]


def test_the_page_loads_nothing_and_leads_only_to_lake_and_runs():
    assert PLAIN.names.isdisjoint({"script", "link", "iframe", "object", "form"})
    urls = [value for _, found in PLAIN.tags for name, value in found.items() if name in ("href", "src")]
    allowed = ("file:///lake/tables/", "http://127.0.0.1:3000/runs/run-1", PNG)
    assert [url for url in urls if not url.startswith(allowed)] == []
    assert len(urls) == 6, "a picture, an object for each fact and each source, and the run of one"


def test_every_fact_names_its_source_and_every_source_its_commit_run_and_code():
    page = as_markdown(explanation())
    assert "| a fact | a fact | 1 |" in page
    assert "| verdict | **MISSING:** a fact | 2 |" in page
    assert f"1. tables\\/raw\\_frames\\/d1\\.parquet: commit {'c' * 40}, published 2026-03-02" in page
    assert "run run\\-1, code code\\-1" in page
    assert "put there by hand, or nothing there" in page
    assert f"Read at commit {'e' * 40}" in page


def test_what_does_not_hold_stands_out():
    page = as_markdown(explanation())
    assert "- ✓ a fact" in page
    assert "- ✗ NOT SO: a fact" in page


def test_a_terminal_shows_no_control_character_of_a_name():
    console = Console(width=80, force_terminal=False, record=True)
    with console.capture() as shown:
        console.print(Markdown(as_markdown(explanation("\x1b]0;title\x07 \x1b[2J"))))
    assert "\x1b" not in shown.get()
    assert "\x07" not in shown.get()


def test_the_rows_of_an_explanation_are_its_facts_in_order():
    rows = explanation().rows
    assert rows["number"].to_list() == [1, 2]
    assert rows.select("link", "commit", "run_id").rows() == [
        ("capture", "c" * 40, "run-1"),
        ("verdict", "d" * 40, None),
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c"),
     (list("abcdefghij"), "a, b, c, d, e, f, g, h and 2 more")],
)  # fmt: skip
def test_names_are_listed_as_people_do(names, said):
    assert listed(names) == said


def test_numbers_are_told_with_their_noun():
    assert counted(1, "frame") == "1 frame"
    assert counted(1234, "frame") == "1,234 frames"
    assert tally(["b", "a", "b"]) == "b 2, a 1"


def test_settings_are_told_without_the_marks_of_json():
    told = settings('{"a": 1, "b": {"c": [1, 2], "d": null}, "e": true, "f": []}')
    assert told == "a 1, b (c 1 2, d none), e true, f none"
