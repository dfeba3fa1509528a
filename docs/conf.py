"""Sphinx configuration."""

from __future__ import annotations

import hrinet

project = "HRINet"
author = "The HRINet developers"
copyright = author
version = release = hrinet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
html_theme = "furo"
html_title = "HRINet"
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]
