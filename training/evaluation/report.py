"""The evaluation as one file to read: tables, sheets and curves, without anything that has to be fetched."""

import base64
from dataclasses import dataclass
from html import escape

from training.evaluation.rows import Figure, Part, Row

STYLE = """
:root { color-scheme: light dark; --line: #8885; --good: #2a7d46; --bad: #b3401f }
@media (prefers-color-scheme: dark) { :root { --good: #6cc58a; --bad: #f08a68 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid var(--line) }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap }
small { display: block; opacity: .75 }
.yes { color: var(--good) } .no { color: var(--bad); font-weight: 600 }
figure { margin: 1.2rem 0 } figure img { max-width: 100%; border-radius: 4px; background: #fff }
figcaption { font-size: .85rem }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem }
.small figure { margin: 0 }
@media (max-width: 34rem) { body { padding: .6rem; font-size: 15px } th, td { padding: .3rem .25rem }
  td.n { white-space: normal } }
"""


@dataclass(frozen=True)
class Chapter:
    """One part of the report. told: how it was measured, in one sentence."""

    title: str
    told: str
    part: Part


def report(title: str, told: str, chapters: list[Chapter]) -> str:
    """The whole page. told: what was measured, and with how much."""
    rows = [row for chapter in chapters for row in chapter.part.rows]
    judged = [row for row in rows if row.goal is not None]
    met = sum(row.met is True for row in judged)
    body = "".join(_chapter(chapter) for chapter in chapters)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(told)}</p><p><b>{met} of {len(judged)} goals are met.</b> "
        "Ranges in brackets hold 95 % of what other pictures of the same kind would give (bootstrap).</p>"
        f"{body}</body></html>\n"
    )


def _chapter(chapter: Chapter) -> str:
    rows = "".join(_row(row) for row in chapter.part.rows)
    large = "".join(_figure(f) for f in chapter.part.figures if not f.small)
    small = "".join(_figure(f) for f in chapter.part.figures if f.small)
    return (
        f"<h2>{escape(chapter.title)}</h2><p>{escape(chapter.told)}</p><table><thead><tr><th>figure</th><th>value</th>"
        f"<th>goal</th><th>met?</th></tr></thead><tbody>{rows}</tbody></table>"
        f'{large}<div class="small">{small}</div>'
    )


def _row(row: Row) -> str:
    basis = "; ".join(part for part in (f"{row.pictures} pictures" if row.pictures else "", row.note) if part)
    note = f"<small>{escape(basis)}</small>" if basis else ""
    interval = f"<small>[{row.interval[0]:.4g}, {row.interval[1]:.4g}]</small>" if row.interval else ""
    sign = {"higher": "≥", "lower": "≤"}[row.better]
    goal = f"{sign} {row.goal:.4g}" if row.goal is not None else ""
    met = {True: '<span class="yes">yes</span>', False: '<span class="no">no</span>', None: ""}[row.met]
    return (
        f'<tr><td>{escape(row.label)}{note}</td><td class="n">{row.value:.4g} {escape(row.unit)}{interval}</td>'
        f'<td class="n">{goal}</td><td>{met}</td></tr>'
    )


def _figure(figure: Figure) -> str:
    kind = "png" if figure.image.startswith(b"\x89PNG") else "webp"
    data = base64.b64encode(figure.image).decode()
    caption = escape(figure.caption)
    return (
        f'<figure><img loading="lazy" alt="{caption}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
