#!/usr/bin/env python3
"""Checks what STYLE and ARCHITECTURE say of the source tree and no compiler knows.

    deploy/check_tree.py [ROOT]

- File names are unique in the tree (BUILD files, documents and data apart).
- No source file has more than 800 lines, unless a comment in it says "Over 800 lines:" and why.
- Includes follow the arrows of ARCHITECTURE.md, and are written from the repository's root.

Reads the files that git tracks and those that it does not ignore. Prints one line a finding; exits with 1 where
there is one. Called by deploy/check.sh.
"""

import collections
import pathlib
import re
import subprocess
import sys

MAX_LINES = 800
SOURCES = {".h", ".cc", ".cu", ".cuh"}
COUNTED = SOURCES | {".py", ".sh", ".bzl", ".proto"}
# Names that stand in many folders by their nature.
COMMON = {"BUILD", "README.md", "main.cc", "__init__.py", "conftest.py"}
MAY_INCLUDE = {
    "codec": {"codec"},
    "gpu": {"gpu", "codec"},
    "proto": {"proto", "codec"},
    "server": {"server", "gpu", "codec", "proto"},
    "client": {"client", "gpu", "codec", "proto"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
EXCUSE = re.compile(r"over 800 lines:", re.IGNORECASE)


def list_files(root):
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    return sorted(pathlib.PurePosixPath(n) for n in set(names) if n and (root / n).is_file())


def same_names(paths):
    places = collections.defaultdict(list)
    for path in paths:
        if path.suffix in COUNTED and path.name not in COMMON:
            places[path.name].append(str(path))
    for name, where in sorted(places.items()):
        if len(where) > 1:
            yield f"{name}: the name stands {len(where)} times: {' '.join(where)}"


def too_long(root, paths):
    for path in paths:
        if path.suffix not in COUNTED:
            continue
        text = (root / path).read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > MAX_LINES and not EXCUSE.search(text):
            yield f"{path}: {lines} lines; split it, or say why in a comment that starts 'Over 800 lines:'"


def wrong_includes(root, paths):
    for path in paths:
        allowed = MAY_INCLUDE.get(path.parts[0])
        if path.suffix not in SOURCES:
            continue
        for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            top, slash, _ = match[1].partition("/")
            if not slash or top == "..":
                # Library headers without a folder ("isa-l.h") are not ours to judge.
                if (root / path.parent / match[1]).exists():
                    yield f'{path}:{number}: "{match[1]}" is not written from the repository\'s root'
            elif allowed is not None and top in MAY_INCLUDE.keys() | {"tests", "deploy"} and top not in allowed:
                yield f'{path}:{number}: {path.parts[0]} may not include "{match[1]}"'


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    paths = list_files(root)
    findings = [*same_names(paths), *too_long(root, paths), *wrong_includes(root, paths)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
