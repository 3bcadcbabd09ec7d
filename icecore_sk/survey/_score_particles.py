"""Scores any number of particles, chunk by chunk, into a folder that may be added to."""

from collections.abc import Iterator
from numbers import Integral
from pathlib import Path

from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from icecore_sk.survey._answers import Answers
from icecore_sk.survey._model_digest import model_digest
from icecore_sk.survey._parts import Parts
from icecore_sk.survey._results import versions
from icecore_sk.survey._sources import Source, open_source


def score_particles(
    model, particles, folder, *, methods=None, chunk_size=8192, client=None, verbose=0
):
    """Write what a fitted model says of particles to a folder of Parquet files.

    One chunk of particles is read, scored and written after the other, so a table may be larger
    than the memory. Stopped at any time and called again, it goes on where it was. With a client of
    Dask the chunks are shared among any number of machines; the files are the same, byte for byte.

    Parameters
    ----------
    model : fitted estimator or Pipeline
    particles : str, path or DataFrame
        Path of a particle file, or a particle table. With a path the memory in use does not depend
        on the number of particles; of a table, ids and scalars are in memory, and pages of a mapped
        file stay resident until the system needs their room. Columns that the model was not fitted
        with are left out.
    folder : str or path
        Gets ``part-00000.parquet`` and so on, and ``_manifest.json``, which says of which model,
        particles, methods and versions they are. Made where it is missing. The whole is read with
        ``pandas.read_parquet(folder)``: a row per particle, in their order, with the particle's
        index as columns.
    methods : list of str or None, default=None
        Methods of the model, or of a Pipeline's last step, that give a row per particle:
        "transform" (columns as `get_feature_names_out` names them), "score_samples", "predict",
        "predict_proba" (a column per class), "explain" (score, components and reason of an
        `OutlierScorer`) and so on. None is "explain" where there is one, else those of transform,
        score_samples and predict that there are.
    chunk_size : int, default=8192
        Most particles of a file, which are in memory at a time. The files are as few as that
        allows, and equally large.
    client : dask.distributed.Client or None, default=None
        Scores on its workers, each of which gets the model once, opens the particle file by its
        path, and holds one chunk at a time. The workers see the file and the folder under the same
        paths as this process does. Chunks of a worker that dies are scored by the others. Dask's
        profiler rests meanwhile.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    folder : Path

    Raises
    ------
    ImportError
        Where `client` is given and dask.distributed is not installed.
    OSError
        Where the folder cannot be written, or a chunk has cost several workers their lives.
    TypeError
        Where `particles`, `chunk_size` or `client` is of another type.
    ValueError
        Where the model is not fitted or cannot do a method, the particles do not fit it, or the
        folder holds the results of another model, particles, methods or chunk size.

    See Also
    --------
    icecore_sk.datasets.save_particles : Writes a particle file.

    Notes
    -----
    Two sets of particles count as the same where ids, scalars, ``attrs`` and 1,024 images evenly
    spaced among them are equal: to compare all pixels would read a large file twice.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from icecore_sk import AutoEncoder
    >>> from icecore_sk.datasets import make_particles, save_particles
    >>> from icecore_sk.survey import score_particles
    >>> X, y = make_particles(60, image_size=16, random_state=0)
    >>> model = AutoEncoder(2, max_epochs=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_particles(X, f"{folder}/particles.arrow")
    ...     found = score_particles(model, path, f"{folder}/scores", chunk_size=25)
    ...     table = pd.read_parquet(found)
    >>> list(table)
    ['run', 'id', 'width', 'height', 'autoencoder0', 'autoencoder1', 'score_samples']
    """
    check_is_fitted(model)
    if not isinstance(chunk_size, Integral) or isinstance(chunk_size, bool):
        raise TypeError(f"chunk_size={chunk_size!r} must be a whole number of particles.")
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be 1 or more particles.")
    if client is not None:
        from icecore_sk.survey._workers import check_client

        check_client(client)
    answers = Answers(model, methods)
    source = open_source(particles)
    if not len(source):
        raise ValueError("particles has 0 rows; there is nothing to score.")
    if client is not None and source.path is None:
        raise TypeError(
            "particles is a table in the memory of this process; with client the workers open a "
            "file. Pass the path of a file that icecore_sk.datasets.save_particles wrote."
        )
    parts = Parts(Path(folder).resolve(), len(source), int(chunk_size))
    parts.open(
        {
            "model": {"class": type(model).__name__, "digest": model_digest(model)},
            "data": source.describe(),
            "methods": answers.methods,
            "chunk_size": int(chunk_size),
            "versions": versions(),
        }
    )
    missing = parts.missing()
    done: Iterator[int] = (score_part(answers, source, parts, number) for number in missing)
    if client is not None:
        from icecore_sk.survey._workers import score_on_workers

        done = score_on_workers(client, answers, source, parts, missing)
    n_before = len(source) - sum(stop - start for start, stop in map(parts.rows, missing))
    with tqdm(
        total=len(source), initial=n_before, unit=" particles", unit_scale=True, disable=not verbose
    ) as bar:
        for n_rows in done:
            bar.update(n_rows)
    parts.tidy()
    return Path(folder)


def score_part(answers: Answers, source: Source, parts: Parts, number: int) -> int:
    """Read, score and write one part; return how many particles it has."""
    start, stop = parts.rows(number)
    try:
        parts.write(number, answers.of(source.read(start, stop)))
    except ValueError as error:
        raise ValueError(f"Particles {start:,} to {stop - 1:,}: {error}") from error
    finally:
        source.release()
    return stop - start
