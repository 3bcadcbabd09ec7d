"""What a fitted model says of particles, as columns of numbers and texts."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from icecore_sk._images import image_columns
from icecore_sk.survey._results import plain_columns

# Taken where `methods` is None. What explains its scores gives these as well, in one go.
DEFAULT = ("transform", "score_samples", "predict")
EXPLAINS = "explain"


class Answers:
    """Asks a model by names of its methods.

    A Pipeline's steps before the last are taken once for all methods, and what the last step alone
    can do, such as `explain`, can be asked for too.

    Parameters
    ----------
    model : fitted estimator or Pipeline
    methods : list of str or None

    Attributes
    ----------
    methods : list of str
    """

    def __init__(self, model, methods=None):
        self._model = model
        self._first, self._last = None, model
        if isinstance(model, Pipeline) and len(model) > 1 and hasattr(model[-1], "fit"):
            self._first, self._last = model[:-1], model[-1]
        self.methods = self._choose(methods)

    def _choose(self, methods) -> list[str]:
        name = type(self._last).__name__
        if methods is None:
            able = [EXPLAINS] if hasattr(self._last, EXPLAINS) else []
            able = able or [method for method in DEFAULT if hasattr(self._last, method)]
            if not able:
                raise ValueError(f"model={name} has none of {[EXPLAINS, *DEFAULT]}. Pass methods.")
            return able
        if isinstance(methods, str) or not len(methods) or len(set(methods)) < len(methods):
            raise ValueError(
                f"methods={methods!r} must be None or a list of different names of methods, such "
                f"as {list(DEFAULT)}."
            )
        for method in methods:
            is_there = not str(method).startswith("_") and hasattr(self._last, str(method))
            if not is_there or not callable(getattr(self._last, method)):
                has = [each for each in (EXPLAINS, *DEFAULT, "predict_proba")]
                has = [each for each in has if hasattr(self._last, each)]
                raise ValueError(
                    f"methods has {method!r}, which {name} cannot do. Among others it has {has}."
                )
        return list(methods)

    def of(self, particles: pd.DataFrame) -> pd.DataFrame:
        """Return the index of the particles as columns, and beside it all answers.

        Raises
        ------
        ValueError
            Where an answer is no row of numbers or texts for each particle, or two columns would
            have one name.
        """
        index = particles.index.to_frame(index=False)
        if particles.index.nlevels == 1 and particles.index.name is None:
            index.columns = ["index"]
        particles = self._known_columns(particles)
        given = particles if self._first is None else self._first.transform(particles)
        found = [index, *(self._ask(method, given, len(particles)) for method in self.methods)]
        names = [str(name) for table in found for name in table.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Index and methods={self.methods} give several columns named {twice[0]!r}. Leave "
                "one of the methods out, or rename the level of the index."
            )
        table = pd.concat([each.reset_index(drop=True) for each in found], axis=1)
        return _same_in_all_parts(table.set_axis(names, axis=1))

    def _known_columns(self, particles: pd.DataFrame) -> pd.DataFrame:
        """Leave out what the model was not fitted with; whoever has a file cannot take it out."""
        for holder in (self._model, getattr(self._last, "embedder_", None)):
            names = getattr(holder, "feature_names_in_", None)
            if names is not None and set(names) <= set(particles.columns):
                return particles[list(names)]
        return particles

    def _ask(self, method: str, given, n: int) -> pd.DataFrame:
        answer = getattr(self._last, method)(given)
        if isinstance(answer, pd.Series):
            answer = answer.to_frame()
        if not isinstance(answer, pd.DataFrame):
            answer = np.asarray(answer)
            if answer.ndim == 1:
                answer = answer[:, None]
            if answer.ndim != 2 or len(answer) != n:
                raise ValueError(self._no_rows(method, f"an array of shape {answer.shape}", n))
            answer = pd.DataFrame(answer, columns=self._names(method, answer.shape[1]))
        if len(answer) != n or image_columns(answer):
            what = "images" if image_columns(answer) else f"{len(answer)} rows"
            raise ValueError(self._no_rows(method, what, n))
        return answer

    def _no_rows(self, method: str, what: str, n: int) -> str:
        return (
            f"methods has {method!r}, and {type(self._last).__name__}.{method} returns {what}; "
            f"expected a row of numbers for each of {n} particles. Leave it out."
        )

    def _names(self, method: str, width: int) -> list[str]:
        names: list[Any] = []
        if method == "transform":
            names = self._feature_names()
        elif hasattr(self._last, "classes_"):
            names = [f"{method} {name}" for name in self._last.classes_]
        if len(names) == width:
            return [str(name) for name in names]
        return [method] if width == 1 else [f"{method}{number}" for number in range(width)]

    def _feature_names(self) -> list:
        for estimator in (self._model, self._last):
            try:
                return list(estimator.get_feature_names_out())
            except (AttributeError, ValueError):  # some steps want to be told the names before them
                continue
        return []


def _same_in_all_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Make texts of objects: their type in a file must not depend on which rows it holds."""
    objects = [name for name in table if pd.api.types.is_object_dtype(table[name])]
    return plain_columns(table).astype(dict.fromkeys(objects, "str"))
