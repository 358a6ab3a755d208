"""Errors of reconstructions, from stored per-image values."""

from __future__ import annotations

from vae_batch.metrics.images.reconstruction import MULTISCALE_SIDE, WINDOW_SIDE, MeanPsnr
from vae_batch.run.scoring.losses import mean_and_error
from vae_batch.run.scoring.report_arrays import worst_reconstructions
from vae_batch.run.scoring.score_sheet import Row, ScoreSheet
from vae_batch.run.scoring.stored import RowParts

_MEANS = ("mse", "mae", "ssim", "ms_ssim")


def add_reconstruction(sheet: ScoreSheet, parts: RowParts) -> None:
    """MSE, MAE, PSNR, SSIM and MS-SSIM at the posterior mean, pixels scaled to 0..1."""
    columns = ("psnr", "perfect_reconstructions", *_MEANS)
    if "losses" not in parts.units or not sheet.wants(*columns):
        return
    stored = parts.columns("losses", ["psnr", *_MEANS])
    if "psnr" in stored:
        psnr = MeanPsnr.from_values(stored["psnr"])
        sheet.add(lambda: {"perfect_reconstructions": psnr.perfect}, "perfect_reconstructions")
        sheet.add(lambda: _psnr(psnr), "psnr")
    for name in _MEANS:
        if name in stored:
            sheet.add(lambda name=name: mean_and_error(name, stored[name]), name)
    if "mse" in stored:
        sheet.show("losses", lambda: worst_reconstructions(parts, stored["mse"]))
    sheet.refuse(f"needs images of at least {WINDOW_SIDE} pixels a side", "ssim")
    sheet.refuse(f"needs images of at least {MULTISCALE_SIDE} pixels a side", "ms_ssim")


def _psnr(psnr: MeanPsnr) -> Row:
    error = {"psnr_se": psnr.finite.standard_error} if psnr.finite.count > 1 else {}
    return {"psnr": psnr.mean, **error}
