"""Names and numbers as they are written."""

from __future__ import annotations

import math
import re

from vae_batch.report.labels import (
    decimals_of,
    elide,
    interval_decimals,
    number,
    printable,
    slugs,
    without_shared_folder,
)


def test_slug_is_predictable() -> None:
    assert slugs(["runs/a/step-0003"]) == {"runs/a/step-0003": "runs-a-step-0003"}


def test_slugs_are_file_safe_and_distinct_whatever_the_case() -> None:
    labels = ["../../etc/passwd", "a/b", "a-b", "A-B", "", "é" * 300, "x" * 300, "a\x00b\n"]
    names = slugs(labels)
    assert len({name.lower() for name in names.values()}) == len(labels)
    for name in names.values():
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,120}", name)
        assert not name.startswith(".")


def test_slugs_do_not_depend_on_order() -> None:
    assert slugs(["a/b", "a-b", "c"]) == slugs(["c", "a-b", "a/b"])


def test_printable_spells_out_what_moves_the_cursor_or_reorders() -> None:
    assert printable("a\x1b[2Jb\u202ec") == "a\\u{1b}[2Jb\\u{202e}c"
    assert printable("Ünïcode, fine") == "Ünïcode, fine"


def test_elide_keeps_both_ends() -> None:
    assert elide("short", 10) == "short"
    assert elide("abcdefghij", 7) == "ab…ghij"


def test_decimals_follow_the_largest_value() -> None:
    # four significant digits of the largest: 543.4, 92.35, 0.8791, 0.04150; whole numbers have none
    assert [decimals_of([v, 0.01]) for v in (543.43, 92.35, 0.8791, 0.0415)] == [1, 2, 4, 5]
    assert decimals_of([0.0, 12.0]) == 0
    assert decimals_of([]) == 0


def test_number_uses_a_true_minus_and_scientific_only_when_huge() -> None:
    assert number(-39.0, 2) == "\N{MINUS SIGN}39.00"
    assert number(2.5e8, 1) == "2.5000e+08"


def test_shared_folder_is_dropped_only_where_shared() -> None:
    assert without_shared_folder(["r/a/x", "r/b/x"]) == ["a/x", "b/x"]
    assert without_shared_folder(["r/a/x", "r/a/y"]) == ["x", "y"]
    assert without_shared_folder(["x"]) == ["x"]


def test_decimals_of_a_column_follow_its_narrowest_interval() -> None:
    # Half-widths of 2.12 and 5.9: two significant digits of the narrower one are 2.1.
    assert interval_decimals([(9.72, 7.6, 11.84), (194.1, 188.2, 200.0)]) == 1
    # 0.0008 would ask for five decimals; four digits of 7.69 and one more are four.
    assert interval_decimals([(7.559, 7.42, 7.69), (1.013, 1.0122, 1.0138)]) == 4
    assert interval_decimals([(0.5, 0.5, 0.5), (math.nan, 0.0, 1.0)]) == decimals_of([0.5])
