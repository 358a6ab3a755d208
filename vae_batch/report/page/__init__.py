"""The report page: one HTML file that needs nothing beside it and requests nothing.

``document`` puts the sections together, in this order: ``vae_batch.report.notices``, ``verdict``,
``rankings``, ``provenance``, ``score_tables``, charts (``vae_batch.report.charts`` drawn by
``chart_svg``) and ``pictures``.
"""

from vae_batch.report.page.document import render_page

__all__ = ["render_page"]
