#!/usr/bin/env python3
"""Cuts the KV sample of tests/data out of a folder of full KV dumps.

    tests/data/cut_sample.py SOURCE_DIR

Reads SOURCE_DIR/<stem>.{json,kv.bf16.npy,q.f32.npy} and writes the same files, cut, beside this script.
The result depends on the source alone, so a second run gives the same bytes; the SHA-256 sums that it prints
are the ones in PROVENANCE.md. Needs nothing but Python 3.
"""

import ast
import hashlib
import json
import math
import pathlib
import struct
import sys

# stem, first token, end, with queries. Tokens 512..767 of prefix_a and prefix_b: the first 128 are common to
# both (two blocks of 64), the last 128 differ.
CUTS = [
    ("tiny1m.story1", 0, 256, True),
    ("docs6m.prefix_a", 512, 768, False),
    ("docs6m.prefix_b", 512, 768, False),
]
MAX_TOTAL_BYTES = 4 << 20
MAGIC = b"\x93NUMPY"


def read_npy(path):
    """Returns (descr, shape, bytes) of a version 1 C-order array."""
    raw = path.read_bytes()
    if raw[:8] != MAGIC + b"\x01\x00":
        sys.exit(f"{path}: not a version 1 .npy file")
    (header_bytes,) = struct.unpack_from("<H", raw, 8)
    header = ast.literal_eval(raw[10 : 10 + header_bytes].decode("latin1"))
    if header["fortran_order"]:
        sys.exit(f"{path}: Fortran order")
    data = raw[10 + header_bytes :]
    if len(data) != math.prod(header["shape"]) * int(header["descr"][2:]):
        sys.exit(f"{path}: cut short")
    return header["descr"], header["shape"], data


def write_npy(path, descr, shape, data):
    text = "{'descr': %r, 'fortran_order': False, 'shape': %r, }" % (descr, tuple(shape))
    padding = -(len(MAGIC) + 4 + len(text) + 1) % 64
    header = (text + " " * padding + "\n").encode("latin1")
    path.write_bytes(MAGIC + b"\x01\x00" + struct.pack("<H", len(header)) + header + data)


def cut_kv(source, target, first, end):
    descr, (layers, two, tokens, heads, dim), data = read_npy(source)
    row = heads * dim * 2
    parts = [data[(i * tokens + first) * row : (i * tokens + end) * row] for i in range(layers * two)]
    write_npy(target, descr, (layers, two, end - first, heads, dim), b"".join(parts))


def cut_json(source, target, first, end):
    full = json.loads(source.read_text())
    out = {
        "model": full["model"],
        "sample": full["sample"],
        "source": full["source"],
        "tokens": end - first,
        "token_ids": full["token_ids"][first:end],
    }
    if first:
        out["context_token_ids"] = full["token_ids"][:first]
    target.write_text(json.dumps(out) + "\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).resolve().parent
    written = []
    for stem, first, end, queries in CUTS:
        cut_json(source / f"{stem}.json", here / f"{stem}.json", first, end)
        cut_kv(source / f"{stem}.kv.bf16.npy", here / f"{stem}.kv.bf16.npy", first, end)
        written += [f"{stem}.json", f"{stem}.kv.bf16.npy"]
        if queries:
            # They belong to the last tokens of the dump, so only a dump that is kept to its end has them.
            name = f"{stem}.q.f32.npy"
            write_npy(here / name, *read_npy(source / name))
            written.append(name)
    total = 0
    for name in written:
        raw = (here / name).read_bytes()
        total += len(raw)
        print(hashlib.sha256(raw).hexdigest(), len(raw), name)
    print(total, "bytes")
    if total > MAX_TOTAL_BYTES:
        sys.exit("over 4 MiB")


if __name__ == "__main__":
    main()
