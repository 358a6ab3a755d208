"""The report page: one HTML file that needs nothing beside it, and asks nothing of a network.

A file a section, in the order of the page: `vae_batch.report.notices` come first, then `verdict`,
`ranking`, `provenance`, `score_tables`, `curve_charts`, `rate_distortion`, `pictures` and
`gallery_charts`; `document` puts them together.
"""

from vae_batch.report.page.document import render_page

__all__ = ["render_page"]
