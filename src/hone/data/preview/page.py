"""The preview as a page: one file, no scripts, nothing fetched, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from hone.data.preview import Shown
from hone.data.preview.terminal import head, joined, spans, visible

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #ffffff; --soft: #6a7285; --line: #e3e6ec;
  --learned: #0b6e3b; --learned-paper: #d9f4e4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --paper: #14171d; --soft: #98a0b3; --line: #2b303b;
  --learned: #8ee8b4; --learned-paper: #14402a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; margin: 0; } p { color: var(--soft); margin: .2rem 0 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem; line-height: 1.9; }
pre i { font-style: normal; box-shadow: inset 0 -1px 0 var(--line); color: var(--soft); }
pre i + i { border-left: 1px solid var(--line); }
.l { background: var(--learned-paper); color: var(--learned) !important; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td, th { text-align: left; padding: .25rem .6rem; border-top: 1px solid var(--line); vertical-align: top; }
td:last-child { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(shown: Shown) -> str:
    """The page's text."""
    title, *rest = [escape(line) for line in head(shown)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            *(f"<p>{line}</p>" for line in rest),
            '<p><span class="l">Green</span> is learned. Point at a token for its number and its reason.</p>',
            f"<pre>{''.join(_tokens(shown))}</pre>",
            "<table><tr><th>tokens</th><th>part of</th><th>why</th><th>text</th></tr>",
            *_rows(shown),
            "</table></body></html>",
        ]
    )


def _tokens(shown: Shown) -> Iterator[str]:
    for place, token in enumerate(shown.tokens):
        about = escape(f"{place}: id {token.id}, {token.kind}, {token.why}", quote=True)
        said = escape(visible(token.text)).replace("\n", "↵\n")
        yield f'<i{" class=l" if token.learned else ""} title="{about}">{said}</i>'


def _rows(shown: Shown) -> Iterator[str]:
    for first, last, one, tokens in spans(shown):
        kind = ' class="l"' if one.learned else ""
        cells = [f"{first}–{last}", one.kind, one.why, visible(joined(tokens)).replace("\n", "↵")]
        yield f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
