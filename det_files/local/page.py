"""The report's HTML: its style, its tables and how it writes values. Knows nothing of runs."""

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

DASH = "–"


def number(value: float | None) -> str:
    """Returns a metric's value with about five significant digits; a dash for None."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1e-3:
        return (
            f"{value:.4f}"
            if abs(value) < 10
            else f"{value:.2f}"
            if abs(value) < 100
            else f"{value:.1f}"
        )
    return f"{value:.3g}"


def setting(value: Any) -> str:
    """Returns a hyperparameter's value as text: strings as they are, the rest as JSON."""
    if isinstance(value, float):
        return f"{value:.8g}"  # 0.00030000000000000003 says no more than 0.0003
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def section(title: str, content: str) -> str:
    """Returns a titled section around HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def note(text: str) -> str:
    """Returns a remark."""
    return f'<p class="note">{escape(text)}</p>'


def chip(state: str, text: str = "") -> str:
    """Returns a state as a coloured label; it says `text` where that is given."""
    return f'<span class="chip {escape(state.lower())}">{escape(text or state.lower())}</span>'


def figure(title: str, picture: bytes, alt: str, is_wide: bool = False, remark: str = "") -> str:
    """Returns a PNG with its title and a remark below; a wide one takes up the page's width."""
    data = base64.b64encode(picture).decode()
    return (
        f"<figure{' class=wide-picture' * is_wide}><figcaption>{escape(title)}</figcaption>"
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"{note(remark) if remark else ''}</figure>"
    )


def tile(name: str, value: str, remark: str) -> str:
    """Returns one key figure."""
    return (
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<small>{escape(remark)}</small></div>"
    )


def table(
    head: Sequence[str], body: Sequence[tuple[Sequence[str], bool]], kind: str = "numbers"
) -> str:
    """Returns a table.

    Args:
        head: Column titles, as text; none for a table without a head.
        body: (cells as HTML, whether the row is set off) for each row.
        kind: "numbers" aligns all but the first column to the right, "names" none.
    """
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join(
        f"<tr{' class=on' * is_on}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for cells, is_on in body
    )
    header = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="wide"><table class="{kind}">{header}<tbody>{rows}</tbody></table></div>'


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1f2733; --soft: #667085; --line: #e6e9ee; --ground: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 56px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 8px 2px 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 0 0 10px; }
header { margin-bottom: 22px; }
.top { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; }
.path, .note { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.note { margin: 10px 2px 0; }
.chip { display: inline-block; padding: 1px 10px; border-radius: 99px; font-size: 12.5px;
  white-space: nowrap; font-weight: 600; background: #e8ecf2; color: #414b5a; }
.completed { background: #dcf3e6; color: #0b6b3f; }
.running { background: #dceafb; color: #0f56a0; }
.stopped { background: #fdf0d5; color: #7d5300; }
.killed, .error { background: #fce1de; color: #a3231a; }
.tiles, .pictures { display: grid; gap: 14px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); margin-bottom: 14px; }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
.pictures { grid-auto-flow: dense; }  /* a narrow picture fills the gap before a wide one */
.wide-picture { grid-column: 1 / -1; }
.tile, figure, section { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 16px; display: flex; flex-direction: column; }
.tile span, .tile small { color: var(--soft); font-size: 13px; }
.tile b { font-size: 23px; line-height: 1.35; font-variant-numeric: tabular-nums; }
figure { margin: 0; padding: 14px 14px 8px; }
figure .note { margin: 6px 4px 2px; }
figcaption { font-weight: 600; margin: 0 4px 6px; }
img { width: 100%; height: auto; display: block; }
section { margin-top: 14px; padding: 16px 18px 12px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; white-space: nowrap; color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.numbers th:not(:first-child), .numbers td:not(:first-child) { text-align: right;
  padding: 5px 0 5px 12px; font-variant-numeric: tabular-nums; }
.names td:first-child { color: var(--soft); width: 36%; min-width: 150px; overflow-wrap: anywhere; }
.names td { overflow-wrap: anywhere; }
.on td { font-weight: 650; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media print { body { background: #fff; } .tile, figure, section { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<header>
<div class="top"><h1>$title</h1>$chips</div>
<div class="path">$run</div>
</header>
$body
</main>
</body>
</html>
""")
