"""The figure bundle: names, formats, bytes that repeat, what is left out, and the index."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report.compared_rows import compared_row, tied_selection
from report.examples import (
    Scores,
    colour_gallery,
    failed_row,
    full_gallery,
    gallery_of,
    grey_gallery,
    score_row,
    score_table,
    two_metrics,
    with_values,
)

from vae_batch.report.charts.ranking import read_rankings
from vae_batch.report.figures import INDEX, replace_figures, write_figures
from vae_batch.report.figures.printing import plain
from vae_batch.report.figures.writing import (
    MOST_CHECKPOINTS,
    choose_checkpoints,
    files_of_index,
)
from vae_batch.storage import Store

Files = dict[str, bytes]

PLATES = (
    "samples",
    "reconstructions",
    "worst-reconstructions",
    "nearest-training",
    "interpolation",
    "traversal",
    "duplicates",
)
VECTORS = ("kl-dimensions", "aggregate-posterior", "spectrum")


def written(scores: Scores, galleries: dict, **more: Any) -> Files:
    files: Files = {}
    names = write_figures(scores, galleries, files.__setitem__, **more)
    assert names == list(files)
    return files


def index_of(files: Files) -> dict[str, Any]:
    return json.loads(files[INDEX])


def left_out(files: Files) -> dict[str, str]:
    return {entry["name"]: entry["reason"] for entry in index_of(files)["left_out"]}


def digests(files: Files) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def example_run() -> tuple[Scores, dict, list]:
    """Greyscale and colour: two checkpoints with every picture, one that failed between them."""
    scores = score_table(
        score_row("runs/a/step-1", 1, fid=30.0, elbo=-110.0),
        failed_row("runs/a/step-2", 2, "the decoder gave NaN for image 17"),
        score_row("runs/a/step-3", 3, fid=20.0, elbo=-100.0, reconstruction_nll=80.0),
    )
    galleries = {"runs/a/step-1": grey_gallery(1), "runs/a/step-3": colour_gallery(3)}
    compared = [
        compared_row(f"runs/a/step-{step}", value, "runs/a/step-3", extractor="inception-2015")
        for step, value in ((1, 30.0), (3, 20.0))
    ]
    return scores, galleries, compared


@pytest.fixture(scope="module")
def bundle() -> Files:
    scores, galleries, compared = example_run()
    return written(scores, galleries, comparisons=compared)


def test_names_are_predictable(bundle: Files) -> None:
    stems = {name.rpartition(".")[0] for name in bundle}
    expected = {"curves", "curves-elbo", "curves-fid-inception-2015", "film-strip"}
    expected |= {"ranking-fid_corrected-inception-2015", "rate-distortion", "kl-dimensions"}
    for slug in ("runs-a-step-1", "runs-a-step-3"):
        expected |= {f"{kind}-{slug}" for kind in (*PLATES, *VECTORS)}
    assert expected <= stems
    assert not any("step-2" in stem for stem in stems)  # failed: nothing to draw
    assert not any("inception_score_std" in stem for stem in stems)  # the spread of another


def test_every_figure_has_png_pdf_and_json_and_svg_where_it_is_lines(bundle: Files) -> None:
    for entry in index_of(bundle)["figures"]:
        plate = entry["kind"] in (*PLATES, "film-strip")
        suffixes = ["png", "pdf", "json"] if plate else ["png", "pdf", "svg", "json"]
        assert entry["files"] == [f"{entry['name']}.{suffix}" for suffix in suffixes]
        assert set(entry["files"]) <= set(bundle)
        Image.open(io.BytesIO(bundle[f"{entry['name']}.png"])).verify()
        assert bundle[f"{entry['name']}.pdf"].startswith(b"%PDF-1.")
    listed = {name for entry in index_of(bundle)["figures"] for name in entry["files"]}
    assert listed | {INDEX} == set(bundle)


def test_figures_are_as_wide_as_a_column_at_300_dpi(bundle: Files) -> None:
    image = Image.open(io.BytesIO(bundle["curves-elbo.png"]))
    assert image.width == 1050  # 3.5 inches
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert json.loads(bundle["curves-elbo.json"])["inches"] == [3.5, 2.6]
    assert b"/MediaBox [ 0 0 252 187.2 ]" in bundle["curves-elbo.pdf"]  # points: 72 an inch


def test_files_hold_no_date_no_creator_and_no_type_3_font(bundle: Files) -> None:
    for name, content in bundle.items():
        if name.endswith(".pdf"):
            assert b"CreationDate" not in content
            assert b"Matplotlib" not in content
            assert b"/Type3" not in content
        if name.endswith(".svg"):
            assert content.startswith(b"<?xml")
            assert b"dc:date" not in content
            assert b"Matplotlib v" not in content


def test_same_input_gives_the_same_bytes_in_another_process(bundle: Files) -> None:
    """With other hashes, another time zone and other settings of matplotlib."""
    code = (
        "import json, sys; import matplotlib as mpl; "
        "mpl.rcParams.update({'font.size': 30, 'svg.hashsalt': None, 'axes.facecolor': 'red'}); "
        "from report.test_figures import digests, example_run, written; "
        "scores, galleries, compared = example_run(); "
        "found = digests(written(scores, galleries, comparisons=compared)); "
        "assert mpl.rcParams['font.size'] == 30; "  # the caller's settings come back
        "assert 'matplotlib.pyplot' not in sys.modules; "
        "print(json.dumps(found))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", **_path()},
    )
    assert json.loads(ran.stdout) == digests(bundle)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_no_pyplot_is_imported() -> None:
    code = (
        "import sys; import vae_batch.report.figures; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "scores",
    [
        score_table(failed_row("a", 1, "no"), failed_row("b", 2, "no")),
        [],
        score_table(
            score_row("a", 1, reconstruction_nll=math.nan)
            | dict.fromkeys(("fid", "elbo", "kl", "bits_per_dim", "inception_score"), math.inf)
        ),
    ],
    ids=["failed only", "no rows", "nothing finite"],
)
def test_what_there_is_no_data_for_is_left_out_with_the_reason(scores: Scores) -> None:
    files = written(scores, {})
    assert [*files] == [INDEX]
    said = left_out(files)
    assert said["film-strip"] == "no checkpoint has samples"
    assert {"curves", "ranking", "rate-distortion"} <= set(said)


def test_an_empty_gallery_leaves_out_its_own_figures_alone() -> None:
    scores = two_metrics(score_table(score_row("a", 1)))
    files = written(scores, {"a": {"samples": gallery_of(3)["samples"]}})
    assert "samples-a.png" in files
    assert "film-strip.png" in files
    said = left_out(files)
    assert {f"{kind}-a" for kind in (*PLATES[1:], *VECTORS)} <= set(said)
    assert said["nearest-training-a"].endswith("no training images were given")


@pytest.mark.parametrize("values", [(0.0, -5.0, 1e-300), (1e300, math.nan, -math.inf)])
def test_strange_numbers_fail_nothing(values: tuple[float, float, float]) -> None:
    strange = ("fid", "elbo", "kl", "elbo_se", "fid_corrected")
    rows = [
        score_row(name, step, **dict.fromkeys(strange, value))
        for step, (name, value) in enumerate(zip("abc", values, strict=True))
    ]
    rows += [score_row("d", 4), score_row("e", 5)]
    gallery = full_gallery(8, 1)
    power = np.array([3.0, 0.0, 1e-300, 1e300])
    gallery |= {"spectrum_power": power, "kl_per_dimension": np.array([0.0, -1e-9, 1e6])}
    gallery |= {"kl_collapsed": np.array([True, True, False])}
    few = {name: gallery[name] for name in gallery if name[:4] in ("spec", "kl_p", "kl_c", "aggr")}
    files = written(
        with_values(two_metrics(score_table(*rows)), "kl", *values, 3.0, 4.0), {"a": few}
    )
    assert {"curves-elbo.pdf", "spectrum-a.svg", "kl-dimensions-a.png"} <= set(files)


def test_hostile_labels_are_drawn_as_text_and_are_safe_as_names() -> None:
    assert plain("$x$ _") == r"\$x\$ _"
    assert plain("_hidden") == " _hidden"
    assert plain("漢") == "\N{WHITE SQUARE}"  # no such letter in the font
    name = "$\\frac{$ 漢字 ../%s _^{}\n"
    rows = [score_row(label, None, extractor="../_$e") for label in (name, "b")]
    compared = [compared_row(label, 20.0, name, extractor="../_$e") for label in (name, "b")]
    files = written(two_metrics(score_table(*rows)), {name: gallery_of(3)}, comparisons=compared)
    assert len(files) > 20
    assert not [file for file in files if set(file) & set("/\\$%\n ")]
    assert index_of(files)["checkpoints"] == [{"checkpoint": name, "why": "all have pictures"}]


def many(count: int) -> tuple[Scores, dict]:
    """Checkpoints whose Fréchet distance falls to step 30 of them, then rises; few pictures."""
    steps = range(count)
    distances = [10.0 + abs(step - 30) for step in steps]
    rows = [
        score_row(f"r/s{step:03}", step, fid=distance, fid_corrected=distance)
        for step, distance in zip(steps, distances, strict=True)
    ]
    samples = gallery_of(7)["samples"][:4]
    return two_metrics(score_table(*rows)), {
        f"r/s{step:03}": {"samples": samples} for step in steps
    }


def test_of_many_checkpoints_those_that_decide_have_plates() -> None:
    scores, galleries = many(100)
    files = written(scores, galleries)
    index = index_of(files)
    assert index["checkpoints"] == [
        {"checkpoint": "r/s030", "why": "best"},
        {"checkpoint": "r/s099", "why": "worst"},  # and the last
    ]
    assert len(index["checkpoints_in_combined_figures_only"]) == 98
    assert len([name for name in files if name.startswith("samples-")]) == 2 * 3
    strip = json.loads(files["film-strip.json"])
    assert 18 <= len(strip["checkpoints"]) <= 20  # two may be among the evenly spaced already
    assert {"r/s000", "r/s030", "r/s099"} <= set(strip["checkpoints"])
    assert strip["not_drawn"] == 100 - len(strip["checkpoints"])


def test_a_thousand_checkpoints_read_few_galleries() -> None:
    read: set[str] = set()

    class Counted(dict):
        def __getitem__(self, name: str) -> dict:
            read.add(name)
            return super().__getitem__(name)

    scores, galleries = many(1000)
    written(scores, Counted(galleries))
    assert len(read) <= 20 + MOST_CHECKPOINTS


def test_ties_fill_what_the_best_worst_and_last_leave() -> None:
    scores, galleries = many(50)
    labels = [f"r/s{step:03}" for step in range(50)]
    compared = [
        compared_row(label, 10.0 + abs(step - 30), "r/s030", extractor="inception-2015")
        for step, label in enumerate(labels)
    ]
    selection = tied_selection("r/s030", *labels[20:30], *labels[31:40])
    rankings = read_rankings(compared, scores, selection)
    chosen = choose_checkpoints(scores, galleries, rankings, selection)
    assert len(chosen.reasons) == MOST_CHECKPOINTS
    assert chosen.reasons["r/s000"] == "worst"  # 40 away; the last, s049, is 29 away
    assert chosen.reasons["r/s049"] == "last"
    ties = [label for label, why in chosen.reasons.items() if why == "tied for best"]
    # The leader, and those nearest to it, the earlier first where two are as near.
    assert ties == ["r/s027", "r/s028", "r/s029", "r/s030", "r/s031", "r/s032"]
    assert len(chosen.others) == 50 - MOST_CHECKPOINTS


def test_the_index_names_files_that_a_later_report_may_remove() -> None:
    index = {"figures": [{"files": ["a.png", "../b.png", 3]}, {"files": ["c.json"]}]}
    assert files_of_index(json.dumps(index).encode()) == ("a.png", "c.json")
    assert files_of_index(b"{") == ()
    assert files_of_index(b'{"figures": [1]}') == ()


def test_a_later_report_removes_its_own_older_files_alone(tmp_path: Path) -> None:
    folder = Store.open(str(tmp_path))
    (tmp_path / "mine.png").write_bytes(b"")
    one = two_metrics(score_table(score_row("a", 1)))
    first = replace_figures(folder, one, {"a": {"samples": gallery_of(3)["samples"]}}, [], None)
    assert {"samples-a.png", "samples-a.pdf", "film-strip.json"} <= set(first)
    assert {path.name for path in tmp_path.iterdir()} == {*first, "mine.png"}
    second = replace_figures(folder, one, {}, [], None)
    assert {path.name for path in tmp_path.iterdir()} == {*second, "mine.png"}
    assert "samples-a.png" not in second


def test_a_file_that_cannot_be_written_is_an_error_and_no_index_is_left(tmp_path: Path) -> None:
    class Full(Store):
        def write(self, path: str, content: bytes) -> None:
            raise OSError("no space left")

    one = two_metrics(score_table(score_row("a", 1)))
    with pytest.raises(OSError, match="no space left"):
        replace_figures(Full(str(tmp_path)), one, {}, [], None)
    assert [*tmp_path.iterdir()] == []
