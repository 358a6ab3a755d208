"""Rows of named protocols: their numbers, what they share, and where they stand."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console
from support.runs.serial_runs import score

from vae_batch.metrics.samples.protocols import PROTOCOLS
from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.plan import InputError, make_spec
from vae_batch.report.page import render_page
from vae_batch.report.table import terminal_table
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.compare.rescore import rescore
from vae_batch.run.output.verify import verify_output
from vae_batch.storage import Reason, ScoreRow

TOOLS = ("pytorch-fid", "clean-fid", "torch-fidelity", "adm", "ttur", "dgm-eval")


def identify(
    name: str,
    weights: object = (),
    *,
    allow_unverified: bool = False,
    resize: str = "tf1-bilinear",
    normalisation: str = "(x-128)/128",
) -> ExtractorIdentity:
    stem = name if resize == "tf1-bilinear" else f"{name} {resize}"
    return ExtractorIdentity(
        name=stem,
        weights_path=None,
        weights_sha256="ab" * 32,
        protocol=f"{name}/{resize}/299/uint8/{normalisation}",
        feature_dim=6,
        class_count=3,
        inception_score_reason=None,
        resize=resize,
        normalisation=normalisation,
        network=name,
    )


class Features:
    """Six features and three probabilities of an image, other ones for every resize."""

    concurrent_batches = 1
    extracted: ClassVar[dict[str, int]] = {}

    def __init__(self, identity: ExtractorIdentity, batch_size: int) -> None:
        self._resize = identity.resize

    def extract(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.extracted[self._resize] = self.extracted.get(self._resize, 0) + len(images)
        rows = images.reshape(len(images), -1)[:, ::3].astype(np.float64) / 255
        mixing = np.random.default_rng(len(self._resize)).normal(size=(rows.shape[1], 6))
        features = np.abs(rows @ mixing)
        odds = np.exp(features[:, :3] / 4)
        return features.astype(np.float32), (odds / odds.sum(axis=1, keepdims=True)).astype("f4")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr("vae_batch.models.extractors.registry.identify_inception", identify)
    monkeypatch.setattr("vae_batch.run.execute.worker.load_extractor", Features)
    monkeypatch.setattr(Features, "extracted", {})
    images = np.random.default_rng(0).integers(0, 256, (2, 60, 8, 8, 1), np.uint8)
    np.save(tmp_path / "fake.npy", images[0])
    np.save(tmp_path / "real.npy", images[1])
    return {
        "checkpoints": [str(tmp_path / "fake.npy")],
        "reference": str(tmp_path / "real.npy"),
        "protocols": TOOLS,
        "samples": 100,
        "batch_size": 16,
        "workers": 0,
        "metrics": "fid,inception_score,kid,precision",
        "out": str(tmp_path / "out"),
    }


def by_tool(rows: tuple[ScoreRow, ...] | list[ScoreRow]) -> dict[str | None, ScoreRow]:
    return {row.conditions.tool: row for row in rows}


def test_rows_of_six_tools(settings: dict[str, object]) -> None:
    found = by_tool(score(settings).rows)
    assert set(found) == {None, *TOOLS}
    for tool in TOOLS:
        row, protocol = found[tool], PROTOCOLS[tool]
        assert row.conditions.extractor == protocol.title
        assert protocol.resize in row.conditions.protocol
        values = {column for column, s in row.scores.items() if s.value is not None}
        missing = {"kid_subsets", "kid_subsets_std"} if tool == "torch-fidelity" else set()
        assert values == {*protocol.columns} - missing
        assert all(s.standard_error is None for s in row.scores.values())
        assert row.score("elbo").reason.code == "not_in_protocol"  # type: ignore[union-attr]
    lack = found["torch-fidelity"].score("kid_subsets").reason
    assert lack is not None
    assert lack.code == "too_few_images"
    # Each of three resizes was extracted once: two sets of 60 images in batches of 16.
    assert Features.extracted == dict.fromkeys(("tf1-bilinear", "tf2-bilinear", "pil-bicubic"), 128)
    own = found[None]
    np.testing.assert_allclose(found["adm"].value("fid"), own.value("fid"), rtol=1e-4)
    assert found["pytorch-fid"].value("fid") == found["dgm-eval"].value("fid")

    out = str(settings["out"])
    assert {each.extractor for each in compare_run(out)} <= {None, "inception-2015"}
    assert not verify_output(out).bad
    again = {row.key: row for row in rescore(out, ("fid", "kid"))}
    for row in found.values():
        assert again[row.key].value("fid") == row.value("fid")


def test_they_stand_below_the_score_table(settings: dict[str, object]) -> None:
    rows = score({**settings, "protocols": ["torch-fidelity", "clean-fid"]}).rows
    console = Console(file=io.StringIO(), width=140)
    console.print(terminal_table(rows))
    own, _, others = console.file.getvalue().partition("as other tools would print them")
    assert "torch-fidelity" not in own
    assert "does not print it" not in own
    clean, torch = (
        next(line for line in others.splitlines() if tool in line)
        for tool in ("clean-fid 0.1.35", "torch-fidelity 0.4.0")
    )
    assert "-" not in clean.replace("clean-fid", "")
    assert "-¹" in torch
    assert "needs 1000 generated and reference images, found 60" in " ".join(others.split())
    narrow = Console(file=io.StringIO(), width=60)
    narrow.print(terminal_table(rows))
    assert "no room for" in narrow.file.getvalue()


def test_the_page_has_them_in_a_table_of_their_own(settings: dict[str, object]) -> None:
    rows = score({**settings, "protocols": ["torch-fidelity", "clean-fid"]}).rows
    page = render_page(rows, {}, {})
    headlines, others = (
        page.partition(f'aria-label="Scores: {name}"')[2].partition("</thead>")[0]
        for name in ("headlines", "as other tools print them")
    )
    assert "torch-fidelity 0.4.0" not in headlines
    assert "inception-2015" in headlines
    assert "inception-2015<" not in others
    assert {"torch-fidelity 0.4.0", "clean-fid 0.1.35"} <= set(re.findall(r"<span>(.*?)</", others))
    assert "does not print it" not in page.partition("as other tools print them")[0]


def test_a_failed_row_says_so(settings: dict[str, object]) -> None:
    rows = [
        replace(row, status="failed", scores={}, reason=Reason("worker_lost", "its worker died"))
        for row in score({**settings, "protocols": ["adm"]}).rows
    ]
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(rows))
    others = console.file.getvalue().partition("as other tools would print them")[2]
    assert "adm 2022-07: failed¹" in others
    assert "¹ failed: its worker died" in others


def test_only_requested_groups(settings: dict[str, object]) -> None:
    (row,) = (
        row
        for row in score({**settings, "metrics": "fid", "protocols": ["dgm-eval"]}).rows
        if row.conditions.tool
    )
    assert row.value("fid") is not None
    assert row.score("precision").reason.code == "not_requested"  # type: ignore[union-attr]
    with pytest.raises(InputError, match="protocols print metrics of fid, inception_score, kid"):
        make_spec({**settings, "metrics": "losses"})
    with pytest.raises(InputError, match="named twice"):
        make_spec({**settings, "protocols": ["adm", "adm"]})


def test_a_file_of_statistics_gives_the_distance_alone(
    settings: dict[str, object], tmp_path: Path
) -> None:
    extractor = Features(replace(identify("inception-2015"), resize="tf2-bilinear"), 1)
    real = np.repeat(np.load(tmp_path / "real.npy"), 3, axis=-1)
    features = extractor.extract(real)[0].astype(float)
    stats = tmp_path / "stats.npz"
    np.savez(stats, mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    images = by_tool(score({**settings, "protocols": ["pytorch-fid"]}).rows)["pytorch-fid"]
    changes = {
        "reference": str(stats),
        "reference_protocol": "pytorch-fid",
        "protocols": ["pytorch-fid", "ttur"],
        "out": str(tmp_path / "out2"),
    }
    found = by_tool(score({**settings, **changes}).rows)
    np.testing.assert_allclose(found["pytorch-fid"].value("fid"), images.value("fid"), rtol=1e-9)
    assert found["ttur"].value("fid") is not None


def test_features_are_not_taken_for_those_of_a_tool(
    settings: dict[str, object], tmp_path: Path
) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", features=rows)
    pair = {"checkpoints": [str(tmp_path / "a.npz")], "reference": str(tmp_path / "b.npz")}
    with pytest.raises(InputError, match="protocols adm read images"):
        score({**settings, **pair, "protocols": ["adm"]})
