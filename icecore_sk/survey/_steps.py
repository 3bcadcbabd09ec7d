"""Steps of a long piece of work: each is done once, shown, counted and kept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

from icecore_sk._writing import replacing, tidy


class Steps:
    """Runs named steps and keeps their results in a folder, so that a stopped run goes on.

    A result is used again only where everything that it depends on is the same: the data, the
    parameters of the step, and all steps before it.

    Parameters
    ----------
    folder : path or None
        Where results are kept; None keeps nothing.
    identity : object
        What all steps depend on: data, versions, seed.
    n_steps : int
        How many there will be, for the progress that is shown.
    say : callable
        Takes a line of text.
    """

    def __init__(self, folder, identity, n_steps: int, say: Callable[[str], Any]):
        self.folder = None if folder is None else Path(folder)
        self.identity = joblib.hash(identity)
        self.n_steps, self.say = n_steps, say
        self.record: list[dict] = []
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, does: str, params, compute: Callable[[], Any]) -> Any:
        """Return what `compute()` returns, or what it returned when the same step was run before.

        Parameters
        ----------
        name : str
            Names the file of the result.
        does : str
            What the step does, for the one who waits.
        params : object
            What the step depends on beside the data and the steps before it.
        compute : callable without arguments
        """
        self.identity = joblib.hash((self.identity, name, joblib.hash(params)))
        self.say(f"[{len(self.record) + 1}/{self.n_steps}] {does}")
        started = time.perf_counter()
        kept = self._load(name)
        again = kept is not None
        if kept is None:
            result = compute()
            seconds = time.perf_counter() - started
            kept = {"identity": self.identity, "seconds": seconds, "result": result}
            self._save(name, kept)
        seconds = kept["seconds"]
        self.record.append({"name": name, "does": does, "seconds": seconds, "resumed": again})
        self.say(f"      {'kept from before' if again else f'{seconds:.0f} s'}")
        return kept["result"]

    def count(self, kept: int, dropped: int, why: str = "") -> None:
        """Note how many particles the last step kept and dropped, and why."""
        self.record[-1] |= {"kept": kept, "dropped": dropped, "why": why}

    def checkpoints(self, name: str) -> Path | None:
        """Return a folder for the checkpoints of a fit within the next step."""
        return None if self.folder is None else self.folder / f"{name}_checkpoint"

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.joblib"

    def _load(self, name: str) -> dict | None:
        if self.folder is None:
            return None
        tidy(self._path(name))
        if not self._path(name).exists():
            return None
        try:
            kept = joblib.load(self._path(name))
        except Exception as error:  # a damaged file shows in many ways; the step is done again
            self.say(f"      {self._path(name).name} cannot be read ({error}); doing it again")
            return None
        return kept if kept.get("identity") == self.identity else None

    def _save(self, name: str, kept: dict) -> None:
        if self.folder is None:
            return
        with replacing(self._path(name)) as temporary:
            joblib.dump(kept, temporary)
