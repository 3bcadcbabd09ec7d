"""How Sphinx builds the pages: `make docs` all, `make docs-fast` without running the gallery."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import api_names  # noqa: E402

import icecore_sk  # noqa: E402

# ---------------------------------------------------------------- project

project = "icecore_sk"
author = "The icecore_sk developers"
copyright = author
release = version = icecore_sk.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_gallery.gen_gallery",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "benchmark_tables",
    "command_help",
    "gallery_state",
    "mathml",
    "sizing",
]
exclude_patterns = ["_build", "_templates", "_parts", "README.md"]
templates_path = ["_templates"]
# In docstrings `VAE` is a link where there is such a thing, and code where there is not.
default_role = "py:obj"
add_module_names = False

# ---------------------------------------------------------------- docstrings

autosummary_generate = True
autosummary_context = {"own_methods": api_names.own_methods()}
autodoc_typehints = "none"
numpydoc_show_class_members = False

# ---------------------------------------------------------------- links to other projects

# Pages build without a network; DOCS_INTERSPHINX=1 links the names of other projects.
intersphinx_mapping = {}
if os.environ.get("DOCS_INTERSPHINX") == "1":
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "umap": ("https://umap-learn.readthedocs.io/en/latest", None),
    }

# ---------------------------------------------------------------- gallery

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "min_reported_time": 1,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "download_all_examples": False,
    "doc_module": ("icecore_sk",),
    "reference_url": {"icecore_sk": None},
    "backreferences_dir": "_parts/backreferences",
    "image_scrapers": ("matplotlib",),
    "remove_config_comments": True,
}

# ---------------------------------------------------------------- pages

html_theme = "pydata_sphinx_theme"
html_math_renderer = "mathml"
html_title = "icecore_sk"
html_static_path = ["_static"]
html_css_files = ["icecore.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "icecore_sk"},
    "show_prev_next": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {
    "index": [],
    "install": [],
    "start": [],
    "benchmarks": [],
    "glossary": [],
    "faq": [],
    "changelog": [],
    "contributing": [],
}
copybutton_exclude = ".linenos, .gp, .go"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
