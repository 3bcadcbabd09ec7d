"""Which components a score is made of."""

from icecore_sk._outliers.reasons import COMPONENTS


def choose(components, missing: dict[str, str | bool], skipped: set[str]) -> list[str]:
    """Return the components in use, in the order of all.

    Parameters
    ----------
    components : "auto" or list of str
        As the parameter of `OutlierScorer`.
    missing : dict of str
        Of every component what it lacks, in words, or False.
    skipped : set of str
        Those that "auto" does not take, though they may be asked for.

    Raises
    ------
    ValueError
        Where one is unknown, named twice, or lacks something; the message says what.
    """
    if isinstance(components, str):
        return [name for name in COMPONENTS if not missing[name] and name not in skipped]
    chosen = list(components)
    unknown = [name for name in chosen if name not in COMPONENTS]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"components={chosen!r} must be 'auto' or a list of different names among "
            f"{list(COMPONENTS)}."
        )
    for name in chosen:
        if missing[name]:
            raise ValueError(
                f"components has {name!r}, which needs {missing[name]}. Leave it out, or pass "
                "components='auto' for all that are possible."
            )
    return [name for name in COMPONENTS if name in chosen]
