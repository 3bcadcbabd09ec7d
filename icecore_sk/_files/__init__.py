"""The parts of `icecore_sk.files`: the container, values, and what may be in a file."""
