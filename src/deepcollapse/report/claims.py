"""The verdicts of a study as HTML: the strip that counts them, and the table of claims with what each rests on."""

from collections.abc import Mapping, Sequence
from typing import Any

from deepcollapse.records.study import JudgedClaim, Judgement, StudyRecord, Verdict
from deepcollapse.report.html import escape
from deepcollapse.report.words import number

# A colour alone says nothing to many readers and to paper: each verdict has a sign and a word as well.
SIGNS: dict[Verdict, str] = {"holds": "✓", "fails": "✗", "inconclusive": "?", "not tested": "○"}
_MEANS: dict[Verdict, str] = {
    "holds": "the criterion was met",
    "fails": "the criterion was not met",
    "inconclusive": "the seeds do not settle it",
    "not tested": "this scale lacks what it needs",
}
_OURS = "The paper says it in words; this reading of them, fixed before the run, is this project's own."
# More judgements than this are told in the details alone, the worst ones first.
_MOST = 4


def headline(record: StudyRecord) -> str:
    """What came of the claims, in one sentence."""
    total, count = len(record.claims), _counts(record.claims)
    if not total:
        return "This study makes no claims."
    told = []
    if count["fails"]:
        told.append(f"{_many(count['fails'], 'fails', 'fail')}")
    if count["inconclusive"]:
        told.append(f"{_many(count['inconclusive'], 'is', 'are')} inconclusive")
    if count["not tested"]:
        told.append(f"{_many(count['not tested'], 'was', 'were')} not tested")
    holds = f"{count['holds']} of {total} claim{'s' if total > 1 else ''} {'holds' if count['holds'] == 1 else 'hold'}"
    return f"{holds}; {', '.join(told)}." if told else f"{holds}."


def _many(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def strip(claims: Sequence[JudgedClaim]) -> str:
    """A tile for each verdict with how many claims have it, and links to them."""
    tiles = []
    for verdict, count in _counts(claims).items():
        links = "".join(
            f'<li><a href="#claim-{i}">{escape(claim.id)}</a></li>'
            for i, claim in enumerate(claims, start=1)
            if claim.verdict == verdict
        )
        listed = f'<ul aria-label="claims: {verdict}">{links}</ul>' if links else ""
        kind = _kind(verdict) + ("" if count else " none")
        head = f'<p><b>{count}</b> <span class="badge {_kind(verdict)}">{_signed(verdict)}</span></p>'
        tiles.append(f'<li class="tile {kind}">{head}<small>{_MEANS[verdict]}</small>{listed}</li>')
    return f'<ul class="strip" aria-label="verdicts">{"".join(tiles)}</ul>'


def table(claims: Sequence[JudgedClaim]) -> str:
    """A row for each claim, and beneath it the judgements for each subject, which open on a click."""
    if not claims:
        return ""
    names = ("claim and criterion", "the paper's value", "measured", "verdict")
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in names)
    body = "".join(_rows(i, claim) for i, claim in enumerate(claims, start=1))
    top = f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
    # On a narrow screen cells stand below one another, where browsers forget that this is a table: hence the roles.
    return f'<table class="claims" role="table">{top}{body}</table>'


def badge(verdict: Verdict) -> str:
    """A verdict as colour, sign and word."""
    return f'<span class="badge {_kind(verdict)}">{_signed(verdict)}</span>'


def _counts(claims: Sequence[JudgedClaim]) -> dict[Verdict, int]:
    found = [claim.verdict for claim in claims]
    return {verdict: found.count(verdict) for verdict in SIGNS}


def _kind(verdict: Verdict) -> str:
    return verdict.replace(" ", "-")


def _signed(verdict: Verdict) -> str:
    return f'<i aria-hidden="true">{SIGNS[verdict]}</i> {verdict}'


def _rows(place: int, claim: JudgedClaim) -> str:
    ours = f' <span class="ours" title="{_OURS}">our reading</span>' if claim.ours else ""
    sentence = (
        f'<th scope="row" role="rowheader"><span class="id">{escape(claim.id)}</span> {escape(claim.sentence)}'
        f"<small>Criterion{ours}: {escape(claim.criterion)}</small></th>"
    )
    paper, blank = (escape(claim.paper), "") if claim.paper else ("–", ' class="blank"')
    cells = (
        f'<td role="cell" data-label="the paper&#x27;s value"{blank}>{paper}</td>'
        f'<td role="cell" data-label="measured">{_measured(claim)}</td>'
        f'<td role="cell" data-label="verdict" class="said">{badge(claim.verdict)}</td>'
    )
    more = f'<tr role="row" class="more"><td role="cell" colspan="4">{_evidence(claim)}</td></tr>'
    row = f'<tr role="row">{sentence}{cells}</tr>'
    return f'<tbody role="rowgroup" id="claim-{place}" class="{_kind(claim.verdict)}">{row}{more}</tbody>'


def _measured(claim: JudgedClaim) -> str:
    """What was measured of each subject in a line, those that decide the verdict first."""
    first = sorted(claim.judgements, key=lambda judgement: list(_ORDER).index(judgement.verdict))
    if len(first) == 1:
        return _told(first[0], alone=True)
    items = "".join(f"<li>{_told(judgement)}</li>" for judgement in first[:_MOST])
    rest = f'<li class="rest">and {len(first) - _MOST} more, below</li>' if len(first) > _MOST else ""
    return f'<ul class="measured">{items}{rest}</ul>' if items else "–"


_ORDER: tuple[Verdict, ...] = ("fails", "inconclusive", "holds", "not tested")


def _told(judgement: Judgement, alone: bool = False) -> str:
    text = escape(judgement.measured or judgement.why or "–")
    if alone:
        return text
    sign = f'<i class="sign {_kind(judgement.verdict)}" aria-hidden="true">{SIGNS[judgement.verdict]}</i>'
    said = f'<span class="hidden">{judgement.verdict}: </span>'
    return f"{sign}{said}<b>{escape(judgement.subject)}</b>: {text}"


def _evidence(claim: JudgedClaim) -> str:
    """The judgements in full: numbers, seeds, runs and reasons."""
    count = len(claim.judgements)
    if not count:
        return ""
    entries = "".join(_entry(judgement) for judgement in claim.judgements)
    title = "What this rests on" + (f": {count} judgements" if count > 1 else "")
    return f'<details class="evidence"><summary>{title}</summary>{entries}</details>'


def _entry(judgement: Judgement) -> str:
    parts = [f"<h4>{escape(judgement.subject)} {badge(judgement.verdict)}</h4>"]
    if judgement.measured:
        parts.append(f"<p>{escape(judgement.measured)}</p>")
    if judgement.why:
        parts.append(f'<p class="why"><b>Why:</b> {escape(judgement.why)}</p>')
    parts.append(_numbers(judgement.numbers))
    if judgement.runs:
        names = ", ".join(f"<code>{escape(run)}</code>" for run in judgement.runs)
        runs = len(judgement.runs)
        parts.append(f'<p class="runs">{runs} run{"s" if runs > 1 else ""}: {names}</p>')
    return f'<div class="judgement {_kind(judgement.verdict)}">{"".join(parts)}</div>'


def _numbers(numbers: Mapping[str, Any]) -> str:
    if not numbers:
        return ""
    pairs = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_shown(value))}</dd></div>"
        for name, value in numbers.items()
    )
    return f'<dl class="numbers">{pairs}</dl>'


def _shown(value: Any) -> str:
    """A number of a judgement; a study of another version may have put words there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return number(value, 4)
