"""Gives a process the file system of a container of its own, as far as the harness names paths.

Python imports this module at its start, because the container's PYTHONPATH names its directory. It
reads the sources of the installed `determined` package with the fixed paths of a container replaced
by those of this one, and changes nothing else of them.
"""

import importlib.machinery
import os
import re
import sys

REPLACED = {
    b"/run/determined": os.environ.get("STANDIN_RUN_DIR", ""),
    b"/determined_shared_fs": os.environ.get("STANDIN_SHARED_FS", ""),
    b"/tmp/": os.environ.get("STANDIN_TMP", "") + "/",
    b'"/", "tmp"': '"' + os.environ.get("STANDIN_TMP", "") + '"',
}
FIXED = re.compile(b"|".join(map(re.escape, REPLACED)))


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        source = self.get_data(self.path)
        source = FIXED.sub(lambda found: REPLACED[found[0]].encode(), source)
        return self.source_to_code(source, self.path)


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] != "determined":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            with open(spec.origin, "rb") as stream:
                if FIXED.search(stream.read()):
                    spec.loader = Loader(name, spec.origin)
        return spec


if os.environ.get("STANDIN_RUN_DIR"):
    sys.meta_path.insert(0, Finder)
