"""The job from Python: one call scores, and what it gives reads like the files of the run."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import vae_batch
from vae_batch.evaluation import evaluate
from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import EvaluationSpec, InputError, make_spec
from vae_batch.results import Results
from vae_batch.run.progress.events import ignore

BAD = "step-0009<b>bad.keras"


@pytest.fixture(scope="module")
def settings(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three checkpoints that can be scored and one, of a hostile name, that cannot."""
    folder = tmp_path_factory.mktemp("results")
    (folder / BAD).write_text("no model")
    return {
        "checkpoints": [str(toy_folder / "runs"), str(folder / BAD)],
        "reference": "digits",
        "reference_samples": 100,
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 150,
        "batch_size": 16,
        "splits": 5,
        "workers": 0,
        "metrics": "losses,fid",
        "out": str(folder / "out"),
    }


@pytest.fixture(scope="module")
def results(settings: dict[str, Any]) -> Results:
    return vae_batch.score(**settings, progress=ignore)


def test_the_table_is_that_of_the_file_in_nullable_types(results: Results) -> None:
    table = results.table
    assert list(table["step"]) == [1, 2, 3, 9]
    assert list(table["status"]) == ["scored", "scored", "scored", "failed"]
    stored = pd.read_parquet(Path(results.out) / "scores.parquet")
    assert {*table.columns} == {*stored.columns}
    assert list(table.columns)[:4] == ["checkpoint", "step", "extractor", "reconstruction_nll"]
    assert list(table.columns).index("fid") < list(table.columns).index("status") < 20
    assert {"protocol", "seed", "fingerprint"} <= {*table.columns[-40:]}
    assert list(table["elbo"][:3]) == list(stored["elbo"][:3])
    assert table["elbo"][3] is pd.NA
    kinds = {str(kind) for kind in table.dtypes}
    assert kinds == {"Int64", "Float64", "string"}


def test_comparisons_and_selection_are_those_of_the_run(results: Results) -> None:
    compared = results.comparisons
    assert str(compared["is_best"].dtype) == "boolean"
    assert results.selection is not None
    best = compared[compared["is_best"] & (compared["metric"] == results.selection.metric)]
    leader = results.selection.steps[0].leader
    assert list(best["checkpoint"]) == [leader]
    assert leader in list(results.table["checkpoint"])


def test_figures_are_pngs_by_name(results: Results) -> None:
    figures = results.figures
    assert {"film-strip", "curves", "curves-elbo"} <= set(figures)
    assert not [name for name in figures if name.endswith((".png", ".svg"))]
    assert len(figures) == len(list((Path(results.out) / "figures").glob("*.png")))
    strip = figures["film-strip"]
    assert strip == (Path(results.out) / "figures/film-strip.png").read_bytes()
    assert Image.open(io.BytesIO(strip._repr_png_())).format == "PNG"
    assert figures.file("curves-elbo", "pdf").startswith(b"%PDF")
    with pytest.raises(KeyError, match=r"film-strip\.svg"):  # images have none
        figures.file("film-strip", "svg")
    with pytest.raises(KeyError):
        figures["no such figure"]


def test_figures_hold_the_numbers_of_the_table(results: Results) -> None:
    (line,) = results.figures.numbers("curves-elbo")["series"]
    assert line["y"][:3] == list(results.table["elbo"][:3])


def test_a_gallery_is_arrays(results: Results) -> None:
    first, *_, failed = results.table["checkpoint"]
    assert results.gallery(first)["samples"].shape == (64, 8, 8, 1)
    assert dict(results.gallery(failed)) == {}
    with pytest.raises(InputError, match=r"no checkpoint 'x'; it has .*step-0001"):
        results.gallery("x")


def test_a_notebook_shows_the_ranking_the_best_and_the_film_strip(results: Results) -> None:
    shown = results._repr_html_()
    assert results.selection is not None
    assert html.escape(results.selection.sentence[1:]) in shown
    assert results.best == results.selection.best
    assert re.findall(r'(?:src|href)="([^"]{11})', shown) == ["data:image/"]
    by = METRICS[results.selection.metric].short
    assert re.search(rf"<th [^>]*>{re.escape(by)}", shown), "the verdict's metric has a column"
    assert "<script" not in shown
    assert "<b>bad" not in shown
    assert "&lt;b&gt;bad" in shown
    assert "failed" in shown
    # The best ELBO of the three stands in bold, with the digits of the table.
    best = results.table["elbo"].max()
    bold = [float(text.replace("−", "-")) for text in re.findall(r"<b>(.*?)</b>", shown)]  # noqa: RUF001
    assert any(value == pytest.approx(best, rel=1e-3) for value in bold)
    assert shown.count("<tr>") == 5


def test_a_page_below_the_notebook_s_folder_is_a_link(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(results.out).parent)
    assert '<a href="out/report.html" target="_blank">' in results._repr_html_()


def test_plain_text_says_how_many_and_which(results: Results) -> None:
    said = repr(results)
    assert said.startswith("<Results of 4 checkpoints, 1 failed, in ")
    assert results.selection is not None
    assert results.selection.sentence in said
    assert "\n" not in said


def test_the_page_is_the_file(results: Results) -> None:
    assert results.page == (Path(results.out) / "report.html").read_text()


@pytest.mark.usefixtures("no_report")
def test_the_same_call_again_computes_nothing(results: Results, settings: dict[str, Any]) -> None:
    again = vae_batch.score(**settings, progress=ignore)
    assert list(again.table["scored_at"][:3]) == list(results.table["scored_at"][:3])


def test_every_way_to_give_a_spec_is_the_same_spec(
    results: Results,
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[EvaluationSpec] = []
    monkeypatch.setattr("vae_batch.results.evaluate", lambda spec, progress: given.append(spec))
    toml = tmp_path / "spec.toml"
    toml.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in settings.items()))
    for spec in (toml, str(toml), make_spec(settings), settings):
        assert vae_batch.score(spec).out == results.out
    assert given == [make_spec(settings)] * 4


def test_settings_win_over_the_spec(
    results: Results, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[EvaluationSpec] = []
    monkeypatch.setattr("vae_batch.results.evaluate", lambda spec, progress: given.append(spec))
    vae_batch.score(make_spec(settings | {"seed": 4}), seed=5, progress=ignore)
    assert given == [make_spec(settings | {"seed": 5})]


def test_a_store_is_read_through_its_uri(results: Results) -> None:
    there = Results.open(Path(results.out).as_uri())
    assert there.out.startswith("file://")
    assert there.figures["curves"] == results.figures["curves"]
    assert there.page == results.page


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no scored rows"):
        Results.open(tmp_path)
    with pytest.raises(InputError, match=r"expected the path of a \.toml spec"):
        vae_batch.score("runs/")
    with pytest.raises(InputError, match=r"score\(\): unknown key 'sample'; did you mean"):
        vae_batch.score(sample=3, checkpoints="x", reference="digits")


def test_settings_never_clash_with_arguments() -> None:
    assert not {"spec", "progress"} & set(EvaluationSpec.model_fields)


def test_the_index_names_them_without_loading_them() -> None:
    code = (
        "import sys, vae_batch; assert {'score', 'Results'} <= set(vae_batch.__all__); "
        "assert 'pandas' not in sys.modules; vae_batch.score; vae_batch.Results; "
        "print(*{'ray', 'tensorflow', 'keras'} & {m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.usefixtures("no_report")
def test_objects_of_a_notebook_are_accepted(tmp_path: Path, toy_folder: Path) -> None:
    """A model in memory, its classes, a function that builds it, and paths, without trust."""
    import keras
    from support.models.toy_models import make_decoder, make_encoder

    class Doubled(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs * 1.0

    image = keras.Input((8, 8, 1))
    encoder = keras.Model(image, make_encoder(1)(Doubled()(image)), name="encoder")
    outer, decoder = keras.Input((8, 8, 1)), make_decoder(1)
    vae = keras.Model(outer, decoder(encoder(outer)[0]), name="my vae")

    def build() -> Any:
        return make_encoder(1), make_decoder(1)

    whole = keras.Model(outer, make_decoder(1)(make_encoder(1)(outer)[0]))
    whole.save_weights(tmp_path / "w.weights.h5")
    common = {
        "reference": "digits",
        "reference_samples": 50,
        "extractors": [toy_folder / "classifier.keras"],
        "metrics": "losses",
        "workers": 0,
        "progress": ignore,
    }
    expected = vae_batch.score(
        checkpoints=toy_folder / "runs/step-0001", out=tmp_path / "files", **common
    ).table["elbo"][0]
    for objects in ([Doubled], {"Doubled": Doubled}):
        found = vae_batch.score(
            checkpoints=vae, custom_objects=objects, out=tmp_path / "memory", **common
        )
        assert found.table["status"][0] == "scored", found.table["reason"][0]
        assert found.table["elbo"][0] == pytest.approx(expected, rel=1e-6)
    built = vae_batch.score(
        checkpoints=[tmp_path / "w.weights.h5"], builder=build, out=tmp_path / "built", **common
    )
    assert built.table["elbo"][0] == pytest.approx(expected, rel=1e-6)


def test_objects_are_shipped_by_value_and_known_by_their_source() -> None:
    from ray import cloudpickle

    from vae_batch.models.formats import user_modules
    from vae_batch.python_objects import plain_settings

    def one() -> int:
        return 1

    def two() -> int:
        return 2

    names = [plain_settings({"builder": each}, "out")["builder"] for each in (one, two, one)]
    assert names[0] == names[2] != names[1]
    module = names[0].partition(":")[0]
    sent = cloudpickle.dumps(user_modules.given_objects([module]))
    user_modules._given.pop(module)
    sys.modules.pop(module)
    with pytest.raises(InputError, match="given classes or functions in Python"):
        user_modules.source_sha256(module)
    user_modules.restore_given(cloudpickle.loads(sent))
    assert user_modules.user_function(names[0], "builder")() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"custom_objects": [3]}, "custom_objects holds a int; expected classes, functions"),
        ({"checkpoints": 3}, r"checkpoints = \[3\]: expected .*paths"),
    ],
)
def test_errors_speak_of_python(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        vae_batch.score(**{"checkpoints": "a", "reference": "digits", **settings})


def test_what_ray_prints_during_a_run_is_not_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its listening thread prints lines such as ``(raylet) The node ... has been marked dead``."""

    def loses(*_: object) -> None:
        thread = threading.Thread(target=print, args=("(raylet) The node has been marked dead",))
        thread.start()
        thread.join()
        raise InputError("the cluster was lost")

    monkeypatch.setattr("vae_batch.evaluation.prepare", loses)
    with pytest.raises(InputError, match="was lost"):
        evaluate(make_spec({"checkpoints": ["v"], "reference": "digits"}), ignore)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "(raylet) The node has been marked dead\n")
