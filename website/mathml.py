"""Formulas as MathML, which browsers draw by themselves: no script, and nothing fetched from another host."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number

MEANT = {r"\dots": r"\ldots", r"\big": "", r"\Big": ""}  # what docutils lacks; fences grow by themselves in MathML
COMMANDS = re.compile("|".join(rf"{re.escape(command)}(?![a-zA-Z])" for command in MEANT))


def mathml(formula: str, block: bool) -> str:
    return tex2mathml(COMMANDS.sub(lambda m: MEANT[m[0]], formula), as_block=block)


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="formula"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})</span>')
    writer.body.append(mathml(node.astext(), block=True) + "</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
