"""What a report of a tiny fixed run shows, as digests that are the same on every machine.

The page is taken whole, its pictures by their pixels, as PNG compressors differ. Of figures the
numbers in them are taken: how Matplotlib draws them differs from release to release.
``python -m report.golden_drawing`` (from the ``tests`` folder) writes ``golden_drawing.json`` anew.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report.compared_rows import compared_row, selected
from report.examples import Scores, failed_row, gallery_of, score_row, score_table

from vae_batch.report.bundle import REPORT_VERSION
from vae_batch.report.charts.ranking import read_rankings
from vae_batch.report.figures.printing import PlannedFigure
from vae_batch.report.figures.writing import choose_checkpoints, planned_figures
from vae_batch.report.page import render_page

GOLDEN = Path(__file__).parent / "golden_drawing.json"

_PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")

#: More digits than arithmetic of different CPUs agrees in.
_LONG = re.compile(r"-?\d+\.\d{7,}(?:e[+-]?\d+)?")


def golden_drawing() -> dict[str, Any]:
    """Digests of the parts of the page and of the numbers of each figure, by name."""
    rows, galleries = _rows(), {name: _gallery(level) for name, level in (("a", 64), ("c", 128))}
    comparisons = [compared_row("c", 20.0, "c"), compared_row("a", 30.0, "c")]
    selection = selected("c", compared=2, second="a", sentence="best by FID: c")
    page = render_page(rows, galleries, {"output": "out"}, comparisons, selection)
    rankings = read_rankings(comparisons, rows, selection)
    chosen = choose_checkpoints(rows, [*galleries], rankings, selection)
    figures = planned_figures(rows, galleries, chosen, rankings)
    return {
        "report_version": REPORT_VERSION,
        "page": {name: _digest(text) for name, text in _parts(page).items()},
        "figures": {
            figure.name: _digest(json.dumps([figure.title, figure.values], sort_keys=True))
            if isinstance(figure, PlannedFigure)
            else figure.reason
            for figure in figures
        },
    }


def _rows() -> Scores:
    more = {"fid_corrected": 29.5, "fid_corrected_se": 0.5, "fid_low": 28.5, "fid_high": 30.5}
    return score_table(
        score_row("a", 1, fid_warning="bias-dominated", **more),
        failed_row("b", 2, "the decoder gave NaN"),
        score_row("c", 3, fid=20.25, fid_corrected=20.0, elbo=-100.5, kl=22.5, warnings="blurred"),
    )


def _gallery(level: int) -> dict[str, np.ndarray]:
    kl = np.array([2.5, 1.0, 0.5, 0.001])
    powers = 2.0 ** -np.arange(4)
    return gallery_of(level) | {
        "kl_per_dimension": kl,
        "kl_collapsed": kl < 0.01,
        "spectrum_frequencies": np.arange(1, 5) / 8,
        "spectrum_power": powers,
        "spectrum_power_reference": 4 * powers,
    }


def _parts(page: str) -> dict[str, str]:
    """Style, script, and everything else with pictures as digests of their pixels."""
    style, script = (
        re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.S)[0] for kind in ("style", "script")
    )
    body = page.replace(style, "").replace(script, "")
    body = re.sub(r"sha256-[A-Za-z0-9+/=]+", "", body)
    return {"style": style, "script": script, "body": _PICTURE.sub(_pixels, body)}


def _pixels(found: re.Match[str]) -> str:
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
    return f"{image.shape} {hashlib.sha256(image.tobytes()).hexdigest()}"


def _digest(text: str) -> str:
    short = _LONG.sub(lambda found: f"{float(found[0]):.6g}", text)
    return hashlib.sha256(short.encode()).hexdigest()[:16]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_drawing(), indent=1) + "\n")
