"""A Keras callback that scores checkpoints beside the training that writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from vae_batch.commands.exit_codes import NO_BETTER, SCORED, SOME_FAILED
from vae_batch.plan import InputError, make_spec, read_toml
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.sinks import write_tensorboard


class ScoreCheckpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Runs ``vae-batch watch`` while ``model.fit`` writes checkpoints.

    Another callback writes them, such as ``keras.callbacks.ModelCheckpoint``, where the spec looks
    for them. What is found goes to TensorBoard after each epoch; when the training ends, the last
    checkpoints are scored, too.

    Attributes:
        log: File beside the spec with what the process prints.
        exit_code: Of the process, see ``vae-batch watch``; None while it runs.
    """

    def __init__(
        self,
        spec: str | os.PathLike[str],
        *,
        patience: int | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        gpu: bool = False,
    ) -> None:
        """Check the spec; nothing is started yet.

        Args:
            spec: TOML spec, as of ``vae-batch score``.
            patience: Stop the training when so many checkpoints in a row are not significantly
                better than the best before them.
            tensorboard: Log folder of TensorBoard.
            gpu: Whether scoring may use the GPUs that the training uses.

        Raises:
            InputError: The spec cannot be used.
        """
        super().__init__()
        self._spec = os.fspath(spec)
        self._out = make_spec(read_toml(self._spec), source=self._spec).out
        self._patience, self._gpu = patience, gpu
        self._tensorboard = None if tensorboard is None else os.fspath(tensorboard)
        self._ended = Path(self._spec).with_suffix(".ended")
        self.log = Path(self._spec).with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._exported: object = None
        self.exit_code: int | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start the process."""
        self._ended.unlink(missing_ok=True)
        words = [
            sys.executable,
            "-m",
            "vae_batch",
            "watch",
            self._spec,
            "--until",
            str(self._ended),
        ]
        if self._patience is not None:
            words += ["--patience", str(self._patience)]
        hidden = {} if self._gpu else {"CUDA_VISIBLE_DEVICES": ""}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | hidden
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Export what is new; end the training where nothing becomes better."""
        self._look()
        if self.exit_code == NO_BETTER:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait until the last checkpoints are scored.

        Raises:
            InputError: They could not be; with the last line that the process printed.
        """
        self._ended.touch()
        if self._process is not None:
            self._process.wait()
        self._ended.unlink(missing_ok=True)
        self._look()
        if self.exit_code not in (None, SCORED, SOME_FAILED, NO_BETTER):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = lines[-1] if lines else "it printed nothing"
            raise InputError(f"vae-batch watch ended with {self.exit_code}: {said}")

    def _look(self) -> None:
        if self._process is not None:
            self.exit_code = self._process.poll()
        if self._tensorboard is None:
            return
        try:
            run = FinishedRun.open(self._out)
        except InputError:  # nothing has been scored yet
            return
        found = [(row.key, row.provenance.scored_at) for row in run.rows]
        if found != self._exported:
            write_tensorboard(run, self._tensorboard)
            self._exported = found
