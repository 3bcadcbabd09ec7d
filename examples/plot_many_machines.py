"""
A search on many machines
=========================

A grid search is many fits that know nothing of each other. One line hands them to a cluster of
dask, and the search stays as it is. Two processes on this machine stand for the many machines.
"""

# %%
# The extra ``scale`` installs dask. Eight fits, of four lengths of the latent vector on two folds,
# run in this process first: one after the other, and on one thread, as the workers of dask do. Sums
# over another number of threads differ in their last digits, and training makes much of these.
from importlib import import_module

import joblib
import matplotlib.pyplot as plt
import numpy as np
import torch
from dask.distributed import Client, SubprocessCluster, get_task_stream
from sklearn.model_selection import GridSearchCV

from icecore_sk import AutoEncoder
from icecore_sk.datasets import load_digit_images

X = load_digit_images().data[:400]
encoder = AutoEncoder(
    max_epochs=8, batch_size=32, lr=1e-2, net_params={"encoder_width": 8}, random_state=0
)
search = GridSearchCV(encoder, {"latent_dim": [2, 4, 8, 16]}, cv=2, refit=False)

threads = torch.get_num_threads()
torch.set_num_threads(1)
here = search.fit(X).cv_results_["mean_test_score"]
torch.set_num_threads(threads)

# %%
# Then on the cluster. Wait for its workers: while there are none, joblib runs everything in this
# process, without a word. ``scatter`` sends the images to each worker once, and not with each fit.
with (
    SubprocessCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    Client(cluster) as client,
):
    client.wait_for_workers(2)
    client.run(import_module, "icecore_sk")  # or the first fits would take longer by this
    with get_task_stream() as stream, joblib.parallel_config("dask", scatter=[X]):
        there = search.fit(X).cv_results_["mean_test_score"]
print("Mean scores:", ", ".join(f"{score:.2f}" for score in there))
print("The same as in one process:", np.array_equal(here, there))

# %%
# Each bar is a fit, by the order in which they were finished. A worker that is done with one takes
# the next.
#
# On real machines only the cluster is another. Install the same versions of everything on all of
# them, and start one scheduler and any number of workers in a folder that they share:
#
# .. code-block:: bash
#
#    dask scheduler --scheduler-file cluster.json
#    dask worker --scheduler-file cluster.json --nworkers 4 --nthreads 1
#
# ``Client(scheduler_file="cluster.json")`` then is the client. Where a queue hands out machines,
# dask-jobqueue starts the workers as its jobs:
#
# .. code-block:: python
#
#    from dask_jobqueue import SLURMCluster
#
#    cluster = SLURMCluster(cores=4, processes=4, memory="16GB", walltime="04:00:00")
#    cluster.scale(jobs=10)
#    client = Client(cluster)
#
# Each worker fits one network at a time. On Windows put ``LocalCluster`` in the place of
# ``SubprocessCluster``, in a script that runs below ``if __name__ == "__main__":``.
fits = [
    (task["worker"], step["stop"] - step["start"])
    for task in stream.data
    for step in task["startstops"]
    if step["action"] == "compute" and "fit_and_score" in task["key"]
]
workers = sorted({worker for worker, _ in fits})
busy = dict.fromkeys(workers, 0.0)
figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for number, (worker, seconds) in enumerate(fits, start=1):
    row = workers.index(worker)
    ax.barh(row, seconds, left=busy[worker], height=0.6, color="#332288", edgecolor="white")
    middle = busy[worker] + seconds / 2
    ax.text(middle, row, number, color="white", ha="center", va="center", fontsize=18)
    busy[worker] += seconds
ax.set_yticks(range(len(workers)), [f"worker {row + 1}" for row in range(len(workers))])
ax.invert_yaxis()
ax.set_xlabel("seconds of work", fontsize=18)
ax.tick_params(labelsize=18)
plt.show()
