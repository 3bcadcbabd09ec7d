"""Damage to files: bytes flipped, cut, moved and made extreme, and fields of texts exchanged."""

import copy
import hashlib
import io
import json
import re
import zipfile

import numpy as np

INTEGERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
TEXTS = (
    "nan", "-inf", "inf", "-1", "0", "1e308", "1e999", "-0.0", "9" * 40, "9" * 5000, "0x10", "1,5",
    "", " ", "1_000", "\0", "٣", '"', "'", "../../etc/passwd", "/etc/passwd", "C:\\x", "..",
    "=1+1", "<script>", "True", "None", "null", "[]", "{}", "[[[[", "\ufeff", "é" * 300,
)  # fmt: skip
# What stands for values in a model file.
NODES: tuple = (
    None, True, -1, 0, 1.5, 1e300, "", [], {}, [[]], {"float": "nan"}, {"tuple": [1, 2]},
    {"dict": []}, {"set": [[]]}, {"slice": [0]}, {"same": 0}, {"same": 99},
    {"array": {"name": "x"}}, {"array": {"items": [1], "shape": [10**9]}}, {"function": "os"},
    {"estimator": "sklearn.svm.SVC", "state": {"dict": []}}, {"part": "Neighbours", "state": []},
    {"skops": {"items": [80, 75], "shape": [2]}}, {"random_state": {"tuple": ["MT19937"]}},
    {"decision_tree": "tree", "state": {"dict": []}},
)  # fmt: skip
CHECKSUM = re.compile(rb'"sha256":"[0-9a-f]{64}"')


def flip(rng, data):
    """Flip one bit, or a few."""
    for at in rng.integers(len(data), size=rng.choice([1, 1, 2, 8])):
        data[at] ^= 1 << int(rng.integers(8))
    return data


def truncate(rng, data):
    """Cut the end off."""
    return data[: rng.integers(len(data))]


def delete(rng, data):
    """Take a block out."""
    start, stop = block(rng, data)
    return data[:start] + data[stop:]


def insert(rng, data):
    """Put random bytes in."""
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.choice([1, 4, 64, 1000]))) + data[at:]


def duplicate(rng, data):
    """Put a block in twice."""
    start, stop = block(rng, data)
    return data[:stop] + data[start:stop] + data[stop:]


def swap(rng, data):
    """Exchange two blocks of one size."""
    size = int(rng.choice([1, 4, 16, 256]))
    if len(data) <= 2 * size:
        return data
    a, b = (int(i) for i in rng.integers(len(data) - size, size=2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def extreme(rng, data):
    """Write an integer that is the least or most of its kind."""
    size = int(rng.choice([1, 2, 4, 8]))
    if len(data) < size:
        return data
    value = int(rng.choice(INTEGERS)) % 2 ** (8 * size)
    # Half of the time near the front, where headers are.
    most = len(data) - size
    at = int(rng.integers(min(most, 256) + 1 if rng.random() < 0.5 else most + 1))
    data[at : at + size] = value.to_bytes(size, str(rng.choice(["little", "big"])))
    return data


def fill(rng, data):
    """Overwrite a block with one byte."""
    start, stop = block(rng, data)
    data[start:stop] = bytes([int(rng.choice([0, 0x20, 0x7F, 0xFF]))]) * (stop - start)
    return data


def block(rng, data):
    start = int(rng.integers(len(data)))
    return start, min(len(data), start + int(rng.choice([1, 2, 8, 100, 5000])))


BYTES = (flip, flip, truncate, delete, insert, duplicate, swap, extreme, extreme, fill)


def mutate_bytes(rng, content: bytes) -> bytes:
    """Return the content with one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        if data:
            data = bytearray(BYTES[rng.integers(len(BYTES))](rng, data))
    return bytes(data)


def mutate_text(rng, content: bytes, separator=rb"[,\n|]") -> bytes:
    """Return a table with cells exchanged or made extreme, or lines lost, repeated or joined."""
    parts = re.split(b"(" + separator + b")", content)
    cells = range(0, len(parts), 2)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        kind = rng.integers(6)
        a, b = (int(rng.choice(cells)) for _ in range(2))
        if kind == 0:
            parts[a], parts[b] = parts[b], parts[a]
        elif kind <= 3:
            parts[a] = str(rng.choice(TEXTS)).encode("utf-8", "surrogatepass")
        elif kind == 4 and a + 1 < len(parts):
            parts[a + 1] = rng.choice([b"", b",", b"\n", b"\r", b";", b'"', b"|", b"\t"])
        else:
            parts[a] = b""
            if a + 1 < len(parts):
                parts[a + 1] = b""
    content = b"".join(parts)
    lines = content.split(b"\n")
    kind = rng.integers(8)
    a, b = (int(i) for i in rng.integers(len(lines), size=2))
    if kind == 0:
        lines.insert(a, lines[b])
    elif kind == 1:
        del lines[a]
    elif kind == 2:
        lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def mutate_json(rng, content: bytes) -> bytes:
    """Return JSON with values, names and brackets exchanged or made extreme."""
    return mutate_text(rng, content, separator=rb'[,:\[\]{}"]')


def mutate_nodes(rng, content: bytes) -> bytes:
    """Return JSON that is still JSON, in which other things stand in a few places."""
    document = json.loads(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        places = list(slots(document))
        if not places:
            break
        holder, key = places[rng.integers(len(places))]
        other, its = places[rng.integers(len(places))]
        # Copies, because nothing may come to hold itself.
        mine, theirs = copy.deepcopy(holder[key]), copy.deepcopy(other[its])
        kind = rng.integers(8)
        if kind == 0:
            holder[key] = theirs
        elif kind == 1:
            holder[key], other[its] = theirs, mine
        elif kind == 2:
            holder[key] = int(rng.choice(INTEGERS))
        elif kind == 3:
            holder[key] = str(rng.choice(TEXTS))
        elif kind == 4 and isinstance(holder, list):
            del holder[key]
        elif kind == 5 and isinstance(holder, dict):
            holder[str(rng.choice(TEXTS))] = holder.pop(key)
        elif kind == 6:
            # Not for what is large: the damage itself would take the time that a case has.
            times = int(rng.choice([0, 1, 3, 1000])) if len(json.dumps(theirs)) < 100 else 1
            holder[key] = [copy.deepcopy(theirs) for _ in range(times)]
        else:
            holder[key] = copy.deepcopy(NODES[rng.integers(len(NODES))])
    return json.dumps(document, separators=(",", ":")).encode()


def slots(node):
    """Yield every place in a document, as what holds it and its key there."""
    keys = range(len(node)) if isinstance(node, list) else list(node)
    for key in keys:
        yield node, key
        if isinstance(node[key], list | dict):
            yield from slots(node[key])


# ---------------------------------------------------------------- damage under a right checksum


def mutate_sealed(rng, content: bytes) -> bytes:
    """Damage a model file and make its checksum anew, so that what lies behind it is reached."""
    length = int.from_bytes(content[:8], "little")
    header, payload = content[8 : 8 + length], content[8 + length :]
    kind = rng.integers(8)
    if kind == 0:
        payload = mutate_bytes(rng, payload) if payload else payload
    elif kind == 1:
        header = mutate_bytes(rng, header)
    elif kind == 2:
        header = mutate_json(rng, header)
    elif kind == 3:
        header = mutate_nodes(rng, header)
    else:
        entries = json.loads(header)
        notes = entries["__metadata__"]
        notes["icecore_sk"] = mutate_nodes(rng, notes["icecore_sk"].encode()).decode()
        header = json.dumps(entries, separators=(",", ":")).encode()
    data = len(header).to_bytes(8, "little") + header + payload
    blank = CHECKSUM.sub(b'"sha256":"' + b"0" * 64 + b'"', data, count=1)
    checksum = hashlib.sha256(blank).hexdigest().encode()
    return CHECKSUM.sub(b'"sha256":"' + checksum + b'"', data, count=1)


def mutate_zipped(rng, content: bytes) -> bytes:
    """Damage one part of a checkpoint and pack it anew, with right sums."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice([name for name in parts if parts[name]]))
    if rng.random() < 0.5:
        name = next(name for name in parts if name.endswith("data.pkl"))
    parts[name] = mutate_bytes(rng, parts[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return out.getvalue()


def either(*mutations):
    """Return what takes one of several kinds of damage."""
    return lambda rng, content: mutations[rng.integers(len(mutations))](rng, content)


def seeded(seed: int, target: str, case: int) -> np.random.Generator:
    """Return the generator of one case, whichever cases ran before."""
    return np.random.default_rng([seed, case, *target.encode()])
