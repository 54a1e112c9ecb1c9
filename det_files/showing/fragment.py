"""A piece of HTML as a notebook's output, in the report's look; as text where no HTML is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

# Each output has the style with it: a notebook may be opened with some outputs cleared. The class
# is doubled to weigh more than what JupyterLab says of all tables.
_OWN = "div.det-files.det-files"
_RULES = """
{ color: #1f2733; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
  "Noto Sans CJK JP", sans-serif; max-width: 1080px; margin: 4px 0; }
.note { color: #667085; font-size: 13px; margin: 8px 0 0; }
.verdict { margin: 10px 0 0; padding: 8px 14px; border-left: 4px solid #00805e;
  background: #f2f8f5; }
.doubt { border-left-color: #d55e00; background: #fdf4ec; }
h3 { font-size: 15px; font-weight: 600; margin: 14px 0 8px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; table-layout: auto; width: 100%; margin: 0; font-size: 14px;
  border: 0; }
tr, tr:nth-child(odd), tr:nth-child(even), tr:hover { background: none; border: 0; }
thead, tbody { border: 0; }
th { color: #667085; font-weight: 500; font-size: 13px; white-space: nowrap; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; border: 0;
  border-bottom: 1px solid #e6e9ee; max-width: none; white-space: normal; overflow-wrap: anywhere; }
table.numbers th:not(:first-child), table.numbers td:not(:first-child) { text-align: right;
  padding: 5px 0 5px 14px; font-variant-numeric: tabular-nums; white-space: nowrap; }
table.names td:first-child { color: #667085; width: 24%; min-width: 130px; }
tr.on td { font-weight: 650; }
.pictures { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr)); }
figure { margin: 0; border: 1px solid #e6e9ee; border-radius: 10px; padding: 12px 12px 6px;
  max-width: 620px; }
figcaption { font-weight: 600; margin: 0 4px 6px; }
img { width: 100%; height: auto; display: block; margin: 0; }
.asked { border: 1px solid #e6e9ee; border-radius: 10px; padding: 10px 14px; margin: 0 0 10px; }
.asked dl { display: grid; grid-template-columns: 84px 1fr; gap: 2px 10px; margin: 0 0 8px; }
.asked dt { color: #667085; font-weight: 400; margin: 0; }
.asked dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.both { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
.both > div { background: #f5f6f8; border-radius: 8px; padding: 8px 12px; min-width: 0; }
.both > div > b { font-weight: 600; margin-right: 8px; }
.both p { margin: 6px 0 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
small { color: #667085; font-size: 12.5px; }
.chip { display: inline-block; padding: 0 9px; border-radius: 99px; font-size: 12.5px;
  font-weight: 600; background: #e8ecf2; color: #414b5a; }
.right { background: #dcf3e6; color: #0b6b3f; }
.wrong { background: #fce1de; color: #a3231a; }
"""


def _scoped(rules: str) -> str:
    """The rules for what is inside a fragment alone; the first is the fragment's own."""
    blocks = re.findall(r"([^{}]*)\{([^{}]*)\}", rules)
    return "\n".join(
        ", ".join(f"{_OWN} {selector.strip()}".strip() for selector in selectors.split(","))
        + f" {{{body}}}"
        for selectors, body in blocks
    )


_STYLE = f"<style>\n{_scoped(_RULES)}\n</style>"


@dataclass(frozen=True, repr=False)
class Fragment:
    """HTML that a notebook shows by `_repr_html_`; put together with `+`."""

    html: str

    def __add__(self, other: Fragment) -> Fragment:
        return Fragment(self.html + other.html)

    def _repr_html_(self) -> str:
        return f'{_STYLE}\n<div class="det-files">{self.html}</div>'

    def __repr__(self) -> str:
        """The text alone, cells and paragraphs on lines of their own."""
        text = re.sub(r"<img[^>]*>", "", self.html)
        text = re.sub(r"</(?:tr|p|div|dd|figcaption|h\d)>", "\n", text)
        text = re.sub(r"</t[hd]>", "\t", text)
        lines = unescape(re.sub(r"<[^>]*>", "", text)).splitlines()
        return "\n".join(line.rstrip() for line in lines if line.strip())
