"""Sphinx: the pages of this folder, the docstrings, and the gallery, whose examples run while it builds."""

import re

import numba_tconv

project = "numba_tconv"
author = copyright = "The numba_tconv developers"
version = release = numba_tconv.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery"]
templates_path = ["_templates"]
default_role = "py:obj"
highlight_language = "text"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"
autodoc_mock_imports = ["torch"]
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "image_srcset": ["2x"],
    "thumbnail_size": (600, 260),
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "min_reported_time": 1e9,
}

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["numba_tconv.css"]
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "engine", "performance", "choosing")}
html_theme_options = {
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "secondary_sidebar_items": {"*": ["page-toc"], "api/*": ["page-toc"]},
    "footer_start": ["copyright"],
    "footer_end": [],
}


def link_to_built_examples(app, name, source):
    """Turn links to the gallery's files, which a code host shows, into links to their pages."""
    text = re.sub(r"\(gallery/(\w+)\.py\)", r"(examples/\1.rst)", source[0])
    source[0] = text.replace("(gallery)", "(examples/index.rst)")


def setup(app):
    """Tell Sphinx of the function above."""
    app.connect("source-read", link_to_built_examples)
