"""The font of figures: DejaVu Sans, made quick to embed.

Every PDF carries the letters that it uses. Picking them out of DejaVu's six thousand, with their
layout tables, takes longer than drawing the figure, so figures use a copy with the letters that
most labels are made of, and DejaVu itself for all others.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from matplotlib import font_manager

FONT = "DejaVu Sans"
"""Ships with matplotlib, so that glyphs are the same on every machine."""

_NAME = "DejaVu Sans for print"
_FAMILY_NAMES = (1, 16)
_UNUSED_TABLES = ["GSUB", "GPOS", "GDEF", "MATH", "FFTM"]
#: Of the copy: Latin-1, dashes, quotes, the ellipsis, raised digits, arrows and the minus.
_COPIED = {*range(0x20, 0x100), *range(0x2010, 0x2027), *range(0x2070, 0x207C)}
_COPIED |= {*range(0x2190, 0x2194), 0x2212, 0x25A1}


@cache
def letters() -> frozenset[int]:
    """Code points that figures can draw."""
    return frozenset(font_manager.get_font(_font_file()).get_charmap())


@cache
def print_fonts() -> tuple[str, str]:
    """Families in the order in which letters are looked for: the copy's, then DejaVu's own."""
    font_manager.fontManager.addfont(_copy())
    return _NAME, FONT


def font_file(text: str) -> str:
    """The file of the first font that has every letter of `text`."""
    return _copy() if all(ord(letter) in _COPIED for letter in text) else _font_file()


@cache
def _copy() -> str:
    """The file of the copy, which lies in a temporary folder until the process ends."""
    folder = tempfile.mkdtemp(prefix="vae_batch-font-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = str(Path(folder) / "print.ttf")
    _write_copy(path)
    return path


def _font_file() -> str:
    return font_manager.findfont(FONT, fallback_to_default=False)


def _write_copy(path: str) -> None:
    from fontTools import subset  # comes with matplotlib

    options = subset.Options(
        layout_features=[], legacy_kern=True, name_IDs=["*"], notdef_outline=True
    )
    options.drop_tables += _UNUSED_TABLES
    with subset.load_font(_font_file(), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=_COPIED)
        subsetter.subset(font)
        for record in font["name"].names:
            if record.nameID in _FAMILY_NAMES:
                record.string = _NAME
        subset.save_font(font, path, options)
