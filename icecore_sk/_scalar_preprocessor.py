"""A ready ColumnTransformer for the scalars of a particle table."""

import numpy as np
import pandas as pd
from scipy.stats import yeojohnson
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer, PowerTransformer

from icecore_sk._images import image_columns

PERIOD = 180.0


def scalar_preprocessor(angles="Angle"):
    """Return a ColumnTransformer that scales the scalars and passes the image on.

    Areas, volumes and lengths spread over orders of magnitude, and a few large particles would
    set the scale of all others: each scalar is brought close to a normal distribution by the power
    transform of Yeo and Johnson [1]_ and to mean 0 and variance 1. An orientation of -90 degrees is
    the same as one of 90: each angle becomes the cosine and sine of twice itself.

    Parameters
    ----------
    angles : str or None, default="Angle"
        Columns whose name contains this text are orientations in degrees, of period 180. None
        takes every column for an ordinary scalar.

    Returns
    -------
    transformer : ColumnTransformer
        Takes a particle table, or a DataFrame of scalars alone, and returns a DataFrame: the image
        column unchanged, the angles as ``"<name> cos"`` and ``"<name> sin"``, then the scalars
        under their own names. What it scales by is learned in `fit` alone, so that training and
        use share one scale.

    Raises
    ------
    ValueError
        Where `angles` is neither a text nor None.

    Notes
    -----
    An angle a becomes ``cos(2 a)`` and ``sin(2 a)``.

    References
    ----------
    .. [1] Yeo and Johnson (2000). A new family of power transformations to improve normality or
           symmetry. Biometrika 87.

    Examples
    --------
    >>> import pandas as pd
    >>> from icecore_sk import scalar_preprocessor
    >>> X = pd.DataFrame({"Area": [1.0, 10.0, 1000.0], "Feret Angle Max": [-90.0, 0.0, 90.0]})
    >>> scalar_preprocessor().fit_transform(X).columns.tolist()
    ['Feret Angle Max cos', 'Feret Angle Max sin', 'Area']
    """
    if not (angles is None or isinstance(angles, str)):
        raise ValueError(f"angles={angles!r} must be a text that names contain, or None.")
    split = FunctionTransformer(_double_angle, feature_names_out=_double_angle_names)
    transformer = ColumnTransformer(
        [
            ("image", "passthrough", image_columns),
            ("angle", split, _Columns(angles, named=True)),
            ("scalar", _Power(), _Columns(angles, named=False)),
        ],
        verbose_feature_names_out=False,
    )
    return transformer.set_output(transform="pandas")


class _Power(PowerTransformer):
    """Leaves a scalar as it is where the power would bring all its values to one place.

    Of 1 in 99 rows and 2 in one, the likeliest power is -47, and nothing is left of the difference.
    """

    def _yeo_johnson_optimize(self, x):
        power = super()._yeo_johnson_optimize(x)
        after = yeojohnson(x[~np.isnan(x)], power)
        return power if np.ptp(after) > 1e-8 * np.abs(after).max() else 1.0


class _Columns:
    """Selects columns beside the image by whether their name contains a text."""

    def __init__(self, text: str | None, named: bool):
        self.text, self.named = text, named

    def __call__(self, X: pd.DataFrame) -> list[str]:
        if not isinstance(X, pd.DataFrame):
            raise TypeError(
                f"X is a {type(X).__name__}; scalar_preprocessor() tells columns by their names. "
                "Pass a DataFrame, such as a particle table."
            )
        images = image_columns(X)
        return [
            name
            for name in X.columns
            if name not in images and (self.text is not None and self.text in name) == self.named
        ]


def _double_angle(X):
    """Cosine and sine of 2 pi times each angle over its period, in turns."""
    turned = np.deg2rad(np.asarray(X, dtype=np.float64) * (360.0 / PERIOD))
    both = np.stack([np.cos(turned), np.sin(turned)], axis=2).reshape(len(turned), -1)
    names = _double_angle_names(None, X.columns)
    return pd.DataFrame(both, index=X.index, columns=names)


def _double_angle_names(_, names):
    return np.array([f"{name} {part}" for name in names for part in ("cos", "sin")], dtype=object)
