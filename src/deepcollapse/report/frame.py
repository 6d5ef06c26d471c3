"""The frame of every page: one file with its own style and scripts, which asks nothing of any network."""

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from html import escape

NO_SCRIPT = (
    "<noscript><style>.still { display: block; }</style>"
    "<p>The figures need JavaScript; the words, the tables and the still pictures do not.</p></noscript>"
)


def whole(title: str, body: str, own: Sequence[str] = ("page.js",)) -> str:
    """A page's HTML: `title` is text, `body` is HTML in which every name was escaped, `own` are our scripts' files."""
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), *map(_resource, own)]
    inline = "".join(f"<script>{script}</script>" for script in scripts)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_resource('page.css')}</style></head>"
        f"<body><main>{body}</main>{inline}</body></html>\n"
    )


def contents(sections: list[tuple[str, str]]) -> str:
    """Links to a page's parts, each an anchor and a name."""
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in sections)
    return f'<nav aria-label="parts of this page">{links}</nav>' if links else ""


def _policy(scripts: list[str]) -> str:
    """Only the page's own scripts run, known by their digests, and nothing is ever loaded."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    # Plotly writes style elements of its own, hence 'unsafe-inline' for those; pictures are what it exports.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _resource(name: str) -> str:
    return importlib.resources.files("deepcollapse.report").joinpath(name).read_text(encoding="utf-8")
