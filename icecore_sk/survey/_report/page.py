"""The page: a template, a style sheet and three scripts, put into one HTML file."""

import base64
import json
from importlib.resources import files

SCRIPTS = ("particles.js", "map_panel.js", "report.js")


def asset(name: str) -> str:
    """Return the text of a file that lies beside this module."""
    return files("icecore_sk.survey._report").joinpath("assets", name).read_text("utf-8")


def json_in_html(value) -> str:
    """Return JSON in ASCII that may stand in a script element, whatever texts it holds.

    >>> json_in_html(["</script>", "Größe"])
    '["\\\\u003c/script>","Gr\\\\u00f6\\\\u00dfe"]'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def render_page(*, title, content, data, figures, sheets, webgl) -> str:
    """Return the whole page.

    Parameters
    ----------
    title : str
    content : dict
        What the template shows: tiles, steps, ...
    data : dict
        What the scripts read.
    figures : dict of bokeh models
        By the id of the element that each one fills.
    sheets : list of bytes
        JPEG files to put into the page; empty where they lie beside it.
    webgl : bool
        Whether a figure needs bokeh's WebGL backend.
    """
    from bokeh.embed import json_item
    from bokeh.resources import Resources
    from jinja2 import Environment
    from markupsafe import Markup

    resources = Resources(mode="inline", components=["bokeh"])
    if webgl:
        resources = resources.clone(components=["bokeh", "bokeh-gl"])
    items = {name: json_item(model) for name, model in figures.items()}
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(asset("report.html")).render(
        title=title,
        style=Markup(asset("report.css")),
        bokeh=Markup(resources.render_js()),
        data=Markup(json_in_html(data)),
        figures=Markup(json_in_html(items)),
        sheets=[base64.b64encode(sheet).decode("ascii") for sheet in sheets],
        scripts=[Markup(asset(name)) for name in SCRIPTS],
        **content,
    )
