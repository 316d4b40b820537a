"""Sphinx: `make docs` builds the pages into docs/_build, and a warning is an error."""

from __future__ import annotations

import lakemem

project = "lakemem"
author = copyright = "The lakemem maintainers"
version = release = lakemem.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"lakemem {release}"
html_copy_source = False
