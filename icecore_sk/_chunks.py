"""Chunks of data that is larger than memory: what a call of `partial_fit` must have."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from icecore_sk import _images
from icecore_sk._input import ImageInputMixin

# Entries of the networks' arguments that are no parameters, and the parameter that they follow.
PARAMETER_OF = {
    "n_scalars": "scalar_weight",
    "has_unknown": "outlier_exposure",
    **dict.fromkeys(("stem", "encoder_width", "decoder_width", "scalar_width"), "net_params"),
}


@dataclass(frozen=True)
class Chunk:
    """One call of `partial_fit`.

    Attributes
    ----------
    goes_on : bool
        Whether the estimator is fitted already, by chunks or whole.
    classes : array-like or None
        As passed by the caller.
    """

    goes_on: bool
    classes: Any = None


class ChunkMixin(ImageInputMixin):
    """What `partial_fit` checks beside what `fit` does."""

    early_stopping: bool
    checkpoint_dir: Any
    _net_args: dict

    def _check_chunk_params(self) -> None:
        """Raise where a parameter speaks of a whole data set."""
        if self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: what is held out of one chunk "
                "says little of the others. Pass early_stopping=False, keep rows of your own "
                "apart, and score them between the calls."
            )
        if self.checkpoint_dir is not None:
            raise ValueError(
                f"partial_fit does not support checkpoint_dir={str(self.checkpoint_dir)!r}, which "
                "is for fit. Pass checkpoint_dir=None, and save the estimator between the calls "
                "(icecore_sk.save, joblib.dump): it goes on exactly when it is loaded."
            )

    def _read_chunk(self, X) -> _images.ImageRows:
        """Read a chunk, which must look like the ones before."""
        rows = self._read(X)
        if rows.form != self.input_form_:
            raise ValueError(
                f"This chunk comes as {FORMS[rows.form]}, but {type(self).__name__} was fitted on "
                f"{FORMS[self.input_form_]}. Pass every chunk in the same form."
            )
        if len(rows) < self._min_samples:
            raise ValueError(
                f"Found array with {len(rows)} sample(s) (shape={np.shape(X)}) while a minimum of "
                f"{self._min_samples} is required by {type(self).__name__}. Join it to the chunk "
                "before."
            )
        return rows

    def _check_same_network(self, arguments: dict) -> None:
        """Raise where the parameters ask for another network than the one to go on with."""
        theirs = {name: value for name, value in arguments.items() if name != "image_shape"}
        differ = [
            name
            for name in sorted(theirs.keys() | self._net_args.keys() - DATA_ARGUMENTS)
            if theirs.get(name) != self._net_args.get(name)
        ]
        if differ:
            told = ", ".join(
                f"{PARAMETER_OF.get(name, name)} ({name} is now {theirs.get(name)!r}, was "
                f"{self._net_args.get(name)!r})"
                for name in differ
            )
            raise ValueError(
                f"partial_fit goes on with the network that there is, but these parameters were "
                f"changed and ask for another: {told}. Set them back, or start anew with "
                "sklearn.base.clone."
            )


FORMS = {
    "grey": "images (n, H, W)",
    "images": "images (n, C, H, W)",
    "rows": "rows of flattened images",
    "table": "a particle table",
}
# What the network learned from the first chunk, or what was checked when the chunk was read.
DATA_ARGUMENTS = {"image_shape", "image_mean", "image_scale", "n_classes"}
