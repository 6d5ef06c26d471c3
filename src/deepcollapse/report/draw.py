"""Pieces of SVG, with every text escaped."""

from html import escape

from deepcollapse.report.figures.style import INK

Number = float | int


def stroke(x1: Number, y1: Number, x2: Number, y2: Number, color: str, dash: str = "") -> str:
    """A straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{color}"{dashes}/>'


def text(x: Number, y: Number, words: str, anchor: str = "start", color: str = INK, more: str = "") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"{more}>{escape(words)}</text>'


def circle(x: Number, y: Number, radius: Number, more: str = "") -> str:
    """A disc or ring."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"{more}/>'


def diamond(x: Number, y: Number, radius: Number, more: str = "") -> str:
    """A square on its corner."""
    r = radius
    return f'<path d="M{x:.1f} {y - r:.1f}l{r:g} {r:g}l{-r:g} {r:g}l{-r:g} {-r:g}z"{more}/>'


def whole(width: Number, height: Number, title: str, inside: str) -> str:
    """A picture of its own, on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="11" fill="{INK}" '
        f'role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>{inside}</svg>'
    )
