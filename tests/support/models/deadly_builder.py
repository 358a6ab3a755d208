"""A builder of checkpoints that ends the process which calls it, as native code may."""

from __future__ import annotations

import os
from typing import Any


def build() -> Any:
    os._exit(1)
