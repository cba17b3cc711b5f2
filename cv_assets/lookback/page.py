"""The page that a person reads: an explanation as Markdown, and that as one HTML file that needs no other.

Everything that comes from outside (names of files, parts and people, their words) is shown as it is and does nothing.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt

from cv_assets.lookback.explanation import Explanation, Picture, Section, Source
from cv_assets.lookback.words import moment
from cv_assets.words import visible

_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
_LINKS: Final = re.compile(r"(https?|file)://|data:image/png;base64,")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; border-left: .5rem solid #888; padding-left: .7rem; }
.FAIL h1 { border-color: #c0392b; } .PASS h1 { border-color: #2e8b57; } .REVIEW h1 { border-color: #d98e04; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; border-bottom: 1px solid #ccc; break-after: avoid; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; font-weight: 600; color: #666; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #eee; vertical-align: top; overflow-wrap: anywhere; }
td:first-child { width: 24%; color: #444; } td:last-child, th:last-child { width: 3.5rem; text-align: right; }
tr { break-inside: avoid; }
img { max-width: 46%; margin: .5rem 1rem .2rem 0; border: 1px solid #ccc; image-rendering: pixelated; }
ol { font-size: .82rem; overflow-wrap: anywhere; } a { color: #1a5fb4; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } a { color: inherit; text-decoration: none; } }
"""
# Should anything slip through, a browser still loads and runs nothing.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Links:
    """Where a page leads, and its pictures as URLs; each is empty where there is nothing."""

    object: Callable[[Source], str]
    run: Callable[[str], str]
    picture: Callable[[Picture], str]


NOWHERE: Final = Links(lambda _: "", lambda _: "", lambda _: "")
"""For where links and pictures cannot be followed or shown."""


def as_markdown(explanation: Explanation, links: Links = NOWHERE) -> str:
    """The explanation as Markdown: the verdict in short, the chain link by link, what was compared, the sources."""
    sources = list(dict.fromkeys(fact.source for fact in explanation.facts))
    lines = [f"# {text(explanation.title)}", "", *(f"- {text(one)}" for one in explanation.in_short)]
    for section in explanation.sections:
        lines += ["", f"## {text(section.title)}", "", *_section(section, sources, links)]
    lines += ["", "## Compared while reading", ""]
    lines += [f"- {'✓' if one.holds else '✗ NOT SO:'} {text(one.says)}" for one in explanation.findings]
    lines += ["", "## Sources", "", f"Read at commit {explanation.pin} of the lake.", ""]
    lines += [f"{number}. {_source(source, links)}" for number, source in enumerate(sources, start=1)]
    return "\n".join(lines) + "\n"


def as_html(explanation: Explanation, links: Links) -> bytes:
    """The explanation as one HTML file: style and pictures are inside, and only links to lake and runs lead out."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # The embedded lake's objects are files. Links in what comes from outside never get here: they are escaped.
    parser.validateLink = lambda url: bool(_LINKS.match(url))  # type: ignore[method-assign]
    body = parser.render(as_markdown(explanation, links))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{html.escape(visible(explanation.title))}</title>\n<style>{_STYLE}</style></head>\n"
        f'<body class="{explanation.verdict or ""}">\n{body}</body></html>\n'
    ).encode()


def text(words: str) -> str:
    """What comes from outside, so that Markdown shows it as it is, on one line."""
    return _PUNCTUATION.sub(r"\\\1", visible(words)) or "-"


def _section(section: Section, sources: list[Source], links: Links) -> list[str]:
    lines = []
    for picture in section.pictures:
        if shown := links.picture(picture):
            lines.append(f"![{text(picture.caption)}](<{shown}>)")
    if lines:
        lines += ["", " · ".join(text(picture.caption) for picture in section.pictures), ""]
    lines += ["| what | fact | source |", "|---|---|---|"]
    for fact in section.facts:
        number = str(sources.index(fact.source) + 1)
        where = _linked(number, links.object(fact.source))
        says = f"**MISSING:** {text(fact.says)}" if fact.missing else text(fact.says)
        lines.append(f"| {text(fact.about)} | {says} | {where} |")
    return lines


def _source(source: Source, links: Links) -> str:
    by = "put there by hand, or nothing there" if source.run_id is None else ""
    run = "" if source.run_id is None else f"run {_linked(text(source.run_id), links.run(source.run_id))}"
    code = f"code {text(source.code_version)}" if source.code_version else ""
    when = f"published {moment(source.published_at)}" if source.published_at else ""
    told = filter(None, [f"commit {source.commit}", when, run, code, by])
    return f"{_linked(text(source.path), links.object(source))}: {', '.join(told)}"


def _linked(words: str, url: str) -> str:
    return f"[{words}](<{url}>)" if url else words
