"""Files behind URIs, brought to a folder of this machine that goes with its last user."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vae_batch.models.inputs.file_access import fetch, file_in, folder_files, is_folder
from vae_batch.models.inputs.uri import Uri

#: Files brought at a time: object stores answer slowly.
_READERS = 16


class LocalCopy:
    """A copy of a URI's file or folder; removed with this object, or when the process ends.

    Attributes:
      path: Of the copy; of a ``file:`` URI the file itself.
    """

    def __init__(self, uri: str, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Bring a file, or the files of a folder.

        Args:
          uri: Of a pyarrow filesystem.
          wanted: Takes a relative path in a folder; tells whether that file is brought.

        Raises:
          FileNotFoundError: There is nothing.
          OSError: It cannot be read.
        """
        parsed = Uri.parse(uri)
        if parsed.local_path is not None:
            self.path = Path(parsed.local_path)
            return
        folder = Path(tempfile.mkdtemp(prefix="vae-batch-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = folder / (Path(parsed.path).name or "bucket")
        if not is_folder(uri):
            fetch(uri, folder)
            return
        self.path.mkdir()
        names = [name for name in folder_files(uri) if wanted(name)]
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(lambda name: self._bring(uri, name), names))

    def _bring(self, uri: str, name: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(file_in(uri, name), target.parent)
