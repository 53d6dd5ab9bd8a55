"""Reads written pages."""

from html.parser import HTMLParser


class TagReader(HTMLParser):
    VOID = frozenset({"meta", "img", "br", "line", "circle", "path"})

    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def read_tags(out):
    reader = TagReader()
    reader.feed((out / "report.html").read_text())
    assert reader.open == []
    return reader.tags


def read_links(out):
    return {attributes["href"] or "" for tag, attributes in read_tags(out) if tag == "a"}


def read_section(out, anchor):
    page = (out / "report.html").read_text()
    return page[page.index(f'<section id="{anchor}"') :].split("</section>")[0]


def read_details(out, summary):
    """A folded part of the page, up to the next one."""
    page = (out / "report.html").read_text()
    return page[page.index(f"<summary>{summary}") :].split("<summary>")[1]
