"""Reads written pages."""

from html.parser import HTMLParser
from pathlib import Path


class TagReader(HTMLParser):
    """Every tag with its attributes; opened tags must be closed in order."""

    VOID = frozenset({"meta", "img", "br", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def read_tags(out: Path) -> list[tuple[str, dict[str, str | None]]]:
    reader = TagReader()
    reader.feed((out / "report.html").read_text())
    assert reader.open == []
    return reader.tags


def read_links(out: Path) -> set[str]:
    return {attributes["href"] or "" for tag, attributes in read_tags(out) if tag == "a"}


def read_section(out: Path, anchor: str) -> str:
    """The HTML of one section of the page."""
    page = (out / "report.html").read_text()
    return page[page.index(f'<h2 id="{anchor}"') :].split("</section>")[0]
