"""A document as one HTML page and as Markdown, by the templates of this folder."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from lus_ray.report.blocks import Document


def render_html(document: Document) -> str:
    """A page with its style and pictures inside; all texts are escaped."""
    return _render("page.html.jinja", document, autoescape=True)


def render_markdown(document: Document) -> str:
    """Every number of the page, without its pictures."""
    return _render("page.md.jinja", document, autoescape=False)


def _render(template: str, document: Document, *, autoescape: bool) -> str:
    environment = Environment(
        loader=PackageLoader("lus_ray.report", "."),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["escape_cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template(template).render(document=document)
