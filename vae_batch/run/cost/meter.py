"""The meter of a run: its phases, and an executor that notes what it is given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from vae_batch.plan import EvaluationSpec
from vae_batch.run.cost.cost_file import RunCost, add_cost
from vae_batch.run.cost.estimate import Devices, Key, Rate
from vae_batch.run.cost.measured_rates import known_rates, terms_of
from vae_batch.run.cost.metered_executor import MeteredExecutor
from vae_batch.run.execute.executor import Executor
from vae_batch.run.planning.devices import devices_of
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.storage import Store


class Meter:
    """Measures one run, from the moment that it is made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin; ``clock`` gives seconds."""
        self._clock, self._began = clock, clock()
        self._executor: MeteredExecutor | None = None
        self._devices: Devices | None = None
        self._cores = 0
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside; a phase that comes twice is summed."""
        began = self._clock()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + self._clock() - began

    @contextmanager
    def entered(self, executor: Executor, plan: RunPlan) -> Iterator[Executor]:
        """Enter an executor for the work of a plan, as one that is metered."""
        is_local = not joins_cluster(plan.spec)
        began = self._clock()
        with executor:
            self.phases["start"] = self._clock() - began
            self._devices = devices = devices_of(executor, is_local=is_local)
            self._cores = devices.cores if is_local and not devices.gpu else 0

            def rates() -> dict[Key, Rate]:
                with suppress(OSError):  # of no run's business
                    return known_rates(plan, devices)
                return {}

            self._executor = MeteredExecutor(executor, terms_of(plan), rates)
            with self.phase("work"):
                yield self._executor

    def write(self, store: Store, guard: Callable[[], None] = lambda: None) -> RunCost | None:
        """Add what the run has cost to its folder; None, and no file, where it computed nothing.

        What no phase covers is the phase ``other``.

        Args:
          store: Of the folder.
          guard: Raises where it must not be written.
        """
        if self._executor is None or self._devices is None or not self._executor.has_worked:
            return None
        other = self._clock() - self._began - sum(self.phases.values())
        phases = {**self.phases, "other": other}
        cost = self._executor.cost(phases, self._devices, self._cores)
        with suppress(Exception):  # not worth a run
            guard()
            add_cost(store, cost)
        return cost


def joins_cluster(spec: EvaluationSpec) -> bool:
    """Whether a run joins a Ray cluster that is there, whose workers have cores of their own."""
    return spec.workers != 0 and bool(spec.address or os.environ.get("RAY_ADDRESS"))
