"""Load Qiskit's compiled library in a thread that lives as long as the process.

Its memory allocator, mimalloc, takes the thread that loads the library for the process's main
thread. If that one ends, a later thread may get its place in memory, and the process dies with a
segmentation fault as soon as that thread uses a circuit [observed: Qiskit 2.6.2 on Linux]. A
program that first imports Qiskit in a thread does so: ``await block.aexperiment()`` in a notebook,
a task's thread, a thread of its own.

Only the library is loaded, in a few milliseconds; no Python of Qiskit's runs. Limit: a process that
is forked from one whose main thread had not loaded it is without the thread that waits.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

_NAME = "_accelerate"


def load_qiskit_library() -> None:
    """Load it in this thread if it is the main one, else in one that waits until the end."""
    if "qiskit._accelerate" in sys.modules:
        return
    if threading.current_thread() is threading.main_thread():
        _load()
        return
    loaded = threading.Event()

    def stay() -> None:
        try:
            _load()
        finally:
            loaded.set()
        threading.Event().wait()

    threading.Thread(target=stay, name="session-block-qiskit", daemon=True).start()
    loaded.wait()


def _load() -> None:
    spec = find_spec("qiskit")
    places = spec.submodule_search_locations if spec else None
    for suffix in EXTENSION_SUFFIXES:
        for place in places or ():
            library = Path(place, _NAME + suffix)
            if library.exists():
                ctypes.CDLL(str(library))
                return
