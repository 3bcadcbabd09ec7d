"""scikit-learn's handwritten digits as images, and the art of leaving some out."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_consistent_length, column_or_1d


def load_digit_images(*, return_X_y=False):
    """Load scikit-learn's 1,797 handwritten digits of 8x8 pixels as uint8 images.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        ``data``: ndarray (1797, 8, 8) of uint8, the 17 grey levels spread over 0 to 255;
        ``target``: ndarray (1797,) of int, 0 to 9; ``target_names``; ``DESCR``.
    (data, target) : tuple of ndarray
        With ``return_X_y=True``.

    Examples
    --------
    >>> from icecore_sk.datasets import load_digit_images
    >>> X, y = load_digit_images(return_X_y=True)
    >>> X.shape, X.dtype.name, int(X.max())
    ((1797, 8, 8), 'uint8', 255)
    """
    digits = load_digits()
    data = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    if return_X_y:
        return data, digits.target
    return Bunch(
        data=data,
        target=digits.target,
        target_names=[str(name) for name in digits.target_names],
        DESCR=digits.DESCR,
    )


def leave_digits_out(X, y, digits=(2, 6)):
    """Separate the rows of some digits from the rest.

    Parameters
    ----------
    X : array or DataFrame of n rows
        Images in any form.
    y : array-like of shape (n,)
        Their digits, or any other labels.
    digits : sequence of labels, default=(2, 6)
        The digits to leave out.

    Returns
    -------
    X_known, X_held_out, y_known, y_held_out
        Rows in their old order, in the order of `sklearn.model_selection.train_test_split`.

    Raises
    ------
    ValueError
        Where a digit does not occur in y, or none would be left.

    Examples
    --------
    >>> from icecore_sk.datasets import leave_digits_out, load_digit_images
    >>> X, y = load_digit_images(return_X_y=True)
    >>> X_known, X_held_out, y_known, y_held_out = leave_digits_out(X, y, digits=[2, 6])
    >>> sorted(set(y_held_out.tolist())), len(X_known) + len(X_held_out)
    ([2, 6], 1797)
    """
    check_consistent_length(X, y)
    labels = np.asarray(column_or_1d(y))
    digits = list(np.atleast_1d(np.asarray(digits)))
    missing = [digit for digit in digits if not (labels == digit).any()]
    if missing:
        raise ValueError(
            f"digits={[_plain(d) for d in digits]} holds {[_plain(d) for d in missing]}, which y "
            f"does not have; it has {[_plain(d) for d in np.unique(labels)]}."
        )
    out = np.isin(labels, digits)
    if out.all():
        raise ValueError(
            f"digits={[_plain(d) for d in digits]} are all that y has; leave at least one in."
        )
    return _rows(X, ~out), _rows(X, out), _rows(y, ~out), _rows(y, out)


def _rows(X, mask: np.ndarray):
    if hasattr(X, "iloc"):
        return X.iloc[np.flatnonzero(mask)]
    return np.asarray(X)[mask]


def _plain(label):
    return label.item() if isinstance(label, np.generic) else label
