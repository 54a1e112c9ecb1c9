"""Fragments have the report's look in a notebook, and text elsewhere."""

from __future__ import annotations

import re

from det_files.showing.fragment import Fragment


def test_every_rule_of_the_style_holds_inside_a_fragment_alone() -> None:
    html = Fragment("<p>a</p>")._repr_html_()
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    selectors = re.findall(r"([^{}]*)\{[^{}]*\}", style[1])
    assert len(selectors) > 20
    for selector in selectors:
        for part in selector.split(","):
            assert part.strip().startswith("div.det-files.det-files")
    assert html.endswith('<div class="det-files"><p>a</p></div>')


def test_is_text_where_no_html_is_shown() -> None:
    table = "<table><tr><th>a</th><th>b</th></tr><tr><td>&lt; 1</td><td>2</td></tr></table>"
    assert repr(Fragment(table) + Fragment('<p>end</p><img src="x">')) == "a\tb\n< 1\t2\nend"
