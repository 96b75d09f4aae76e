"""Draws videos when told to, with DeepLabCut's functions or shoal's of the same names; each call timed.

    python bench/render_worker.py MODULE < calls > answers

MODULE is ``deeplabcut`` or ``shoal.deeplabcut``. A call is a line of JSON, ``[function, arguments, keywords]``; its
answer ``{"wall": s, "cpu": s}``, children's seconds included. The first line says that everything is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

os.environ["DLClight"] = "True"  # noqa: SIM112  (no window)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what the functions print is not an answer


def main() -> None:
    """Answer until there are no more calls."""
    began = time.perf_counter()
    module = importlib.import_module(sys.argv[1])
    version = sys.modules[sys.argv[1].split(".")[0]].__version__
    print(json.dumps({"import": time.perf_counter() - began, "version": version}), file=answers)
    for line in sys.stdin:
        function, arguments, keywords = json.loads(line)
        wall, spent = time.perf_counter(), sum(os.times()[:4])
        getattr(module, function)(*arguments, **keywords)
        taken = {"wall": time.perf_counter() - wall, "cpu": sum(os.times()[:4]) - spent}
        print(json.dumps(taken), file=answers)


if __name__ == "__main__":
    main()
