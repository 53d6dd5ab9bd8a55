"""Joins the files of the page into one document, and the policy that allows exactly those."""

import base64
import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parent
STYLE = re.compile(r'<link rel="stylesheet" href="(\w+\.css)">')
SCRIPT = re.compile(r'<script src="(\w+\.js)"></script>')


def read_page() -> bytes:
    """The page with its style and scripts inside, so that it needs no second request."""
    text = (FOLDER / "page.html").read_text()
    text = STYLE.sub(lambda link: f"<style>\n{_read(link[1])}</style>", text)
    return SCRIPT.sub(lambda link: f"<script>\n{_read(link[1])}</script>", text).encode()


def page_policy(page: bytes) -> str:
    """A content security policy that allows the style and the scripts of the page alone."""
    return (
        f"default-src 'none'; style-src {_hashes(b'style', page)}; "
        f"script-src {_hashes(b'script', page)}; img-src data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _read(name: str) -> str:
    return (FOLDER / name).read_text()


def _hashes(tag: bytes, page: bytes) -> str:
    contents = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), page, re.S)
    digests = (base64.b64encode(hashlib.sha256(content).digest()) for content in contents)
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
