"""Files with the names of checkpoints, and what is found among them."""

from __future__ import annotations

from pathlib import Path

from vae_batch.models.checkpoints import find_checkpoints


def touch(path: Path, content: str = "x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return str(path)


def touch_all(folder: Path, names: str) -> None:
    """Files of names between spaces; each holds its name."""
    for name in names.split():
        touch(folder / name, name)


def labels(folder: Path, *patterns: str) -> list[str]:
    found = find_checkpoints([str(folder / pattern) for pattern in patterns])
    return [c.label.removeprefix(f"{folder}/") for c in found]


def roles(folder: Path, *patterns: str) -> dict[str, dict[str, str]]:
    """Label to files by role, all without the folder."""
    found = find_checkpoints([str(folder / pattern) for pattern in patterns])
    return {
        c.label.removeprefix(f"{folder}/"): {
            role: path.removeprefix(f"{folder}/") for role, path in c.files
        }
        for c in found
    }
