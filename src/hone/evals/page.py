"""`predictions.html`: question, answer, reference and scores in a table that sorts, with nothing outside the file."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence

from hone.evals.answered import Answered

MOST = 2000
"""Answers on a page; the whole is in `generated_predictions.jsonl`."""
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1b1b1f; background: #fff; }
table { border-collapse: collapse; width: 100%; } th, td { border: 1px solid #ccc; padding: .4rem .6rem; }
td { vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere; min-width: 4rem; }
td.number { text-align: right; white-space: nowrap; } th { background: #f3f3f6; position: sticky; top: 0; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid #3657c8; }
@media (prefers-color-scheme: dark) {
 body { color: #e6e6ea; background: #17171a; } th { background: #26262c; } th, td { border-color: #444; } }
"""
SCRIPT = """
document.querySelectorAll("th button").forEach((button, column) => button.addEventListener("click", () => {
  const body = document.querySelector("#answers tbody"), head = button.parentElement;
  const down = head.getAttribute("aria-sort") !== "descending";
  document.querySelectorAll("#answers th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => { const cell = row.cells[column];
    return cell.classList.contains("number") ? (cell.textContent === "" ? -Infinity : +cell.textContent)
                                             : cell.textContent; };
  const compare = (a, b) => { const one = value(a), other = value(b); return one < other ? -1 : one > other ? 1 : 0; };
  [...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b)).forEach(row => body.append(row));
}));
"""


def page(
    answers: Sequence[Answered],
    scores: Mapping[str, Sequence[float | None]],
    overall: Mapping[str, float],
    *,
    title: str,
    note: str = "",
    beside: Sequence[str | None] | None = None,
) -> str:
    """The page. `note` says in lines how scores were counted; `beside` holds another model's answer to each question.

    All that a model or a data set wrote is text: nothing of it can become markup, and the page's policy lets no other
    script run.
    """
    heads = ["row", "prompt", "answer", *(["answer beside it"] if beside is not None else []), "label", *scores]
    rows = [
        _row(number, one, None if beside is None else (beside[number] or ""), [s[number] for s in scores.values()])
        for number, one in enumerate(answers[:MOST])
    ]
    more = f"<p>The first {MOST:,} of {len(answers):,} answers.</p>" if len(answers) > MOST else ""
    told = "".join(f"<p>{html.escape(line)}</p>" for line in note.splitlines())
    mark = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{mark}'"
    whole = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th><td class='number'>{value:.4g}</td></tr>"
        for name, value in overall.items()
    )
    buttons = "".join(f"<th scope='col'><button type='button'>{html.escape(name)}</button></th>" for name in heads)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
        f"<table style='width:auto'>{whole}</table>\n{told}{more}<p>A click on a heading sorts.</p>\n"
        f"<table id='answers'><thead><tr>{buttons}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + f"\n</tbody></table>\n<script>{SCRIPT}</script></body></html>\n"
    )


def _row(number: int, one: Answered, beside: str | None, scores: Sequence[float | None]) -> str:
    texts = [one.prompt, one.predict, *([beside] if beside is not None else []), one.label]
    cells = [f"<td class='number'>{number + 1}</td>", *(f"<td>{html.escape(text)}</td>" for text in texts)]
    cells += [f"<td class='number'>{'' if value is None else f'{value:.4g}'}</td>" for value in scores]
    return f"<tr>{''.join(cells)}</tr>"
