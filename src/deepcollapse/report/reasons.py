"""Why layers were kept or cut, said once for all layers of which the same is true."""

import re
from collections.abc import Sequence

from deepcollapse.report.tried import Plan

# A shape, or a number by itself.
_NUMBERS = re.compile(r"(?:the layer's )?\d+ x \d+|\d+(?:\.\d+)?")


def grouped(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    """Layers and the reason they share, in the order of the first of each; numbers that differ are given as a range.

    >>> a = Plan("0", 9.0, 9.0, 4.0, "factors of rank 9 would take as much as the layer's 10 x 20 weights: keep it")
    >>> b = Plan("1", 7.0, 7.0, 4.0, "factors of rank 7 would take as much as the layer's 10 x 10 weights: keep it")
    >>> grouped([a, b])
    [('0-1', 'factors of rank 7 to 9 would take as much as their own weights: keep them')]
    """
    groups: dict[str, list[Plan]] = {}
    for plan in plans:
        groups.setdefault(_NUMBERS.sub("#", plan.reason), []).append(plan)
    return [
        (called([plan.layer for plan in group]), _shared([plan.reason for plan in group])) for group in groups.values()
    ]


def _shared(reasons: list[str]) -> str:
    if len(reasons) == 1:
        return reasons[0]
    columns = iter(list(zip(*(_NUMBERS.findall(reason) for reason in reasons), strict=True)))
    text = _NUMBERS.sub(lambda _: _range(next(columns)), reasons[0])
    plural = {"its outputs vary": "their outputs vary", "its weight has": "their weights have"}
    for one, many in plural.items():
        text = text.replace(one, many)
    return text.removesuffix("keep it") + ("keep them" if text.endswith("keep it") else "")


def _range(found: tuple[str, ...]) -> str:
    if " x " in found[0]:
        own = "their own" if found[0].startswith("the") else "their"
        return found[0].replace("the layer's", "the layers'") if len(set(found)) == 1 else own
    low, high = min(found, key=float), max(found, key=float)
    return low if low == high else f"{low} to {high}"


def called(names: Sequence[str]) -> str:
    """Names of layers, numbered ones that follow each other as a range.

    >>> called(["stem", "blocks.0.conv", "blocks.1.conv", "blocks.2.conv", "blocks.4.conv", "head"])
    'stem, blocks.0-2.conv, blocks.4.conv, head'
    """
    spans: list[tuple[str, int, int, str]] = []
    told: dict[str, str] = {}
    for name in names:
        parts = re.fullmatch(r"((?:[^.]*\D[^.]*\.)*)(\d+)((?:\..*)?)", name)
        if parts is None:
            told[name] = name
            continue
        before, number, after = parts[1], int(parts[2]), parts[3]
        near = next((i for i, s in enumerate(spans) if (s[0], s[2] + 1, s[3]) == (before, number, after)), None)
        if near is None:
            spans.append((before, number, number, after))
        else:
            spans[near] = (before, spans[near][1], number, after)
        place = len(spans) - 1 if near is None else near
        told[f"\0{place}"] = _span(*spans[place])
    return ", ".join(told.values())


def _span(before: str, first: int, last: int, after: str) -> str:
    return f"{before}{first if first == last else f'{first}-{last}'}{after}"
