"""Writes formulas as MathML, which browsers draw by themselves, without a script or a network."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

# Functions whose argument may stand without brackets.
FUNCTION = re.compile(r"<mi>(log|exp)</mi>")


def as_mathml(formula: str, as_block: bool) -> str:
    """Return a formula with the thin space that belongs between a function and its argument."""
    return FUNCTION.sub(r'\g<0><mspace width="0.17em"/>', tex2mathml(formula, as_block=as_block))


def visit_inline(translator, node) -> None:
    translator.body.append(as_mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node) -> None:
    formula = as_mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math-block">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
