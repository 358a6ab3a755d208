"""Runs peers' own commands in their environment; a script of ``benchmark_end_to_end.py``.

    python peer_commands.py weights ARRAYS.npz WEIGHTS.pth
    python peer_commands.py pytorch_fid PATH PATH ...
    python peer_commands.py torch_fidelity.fidelity --input1 PATH ...

``weights`` writes arrays as a state dict. Any other name is a module that is run as ``python -m``
would, unchanged, with the arguments that follow it.
"""

from __future__ import annotations

import runpy
import sys

import numpy as np
from extraction_contenders import declare_operators


def write_state_dict(arrays_path: str, path: str) -> None:
    """Write a ``.npz`` of arrays by name as ``torch.save`` writes a network's state dict."""
    import torch

    with np.load(arrays_path) as arrays:
        state = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays}
    torch.save(state, path)


def complete_torchvision() -> object:
    """Make torchvision importable where it lacks the compiled operators that nobody calls.

    Returns:
      What must be kept as long as torchvision is needed.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        return declare_operators()
    return None


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if name == "weights":
        write_state_dict(*arguments)
    else:
        kept = complete_torchvision()
        sys.argv = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
