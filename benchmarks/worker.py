"""A peer in a process of its own, which lives on and computes only when it is told to.

Each peer needs its own threads and flags, and runs that are to be compared must take turns. So the
driver starts a process for each, and asks them one after the other.
"""

import contextlib
import gc
import importlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from resident import forget_peak, peak_bytes, resident_bytes

_HERE = Path(__file__).resolve().parent
_REST = 0.1  # seconds until threads have given back what the last step left
_SERVE = "import sys, worker; worker.serve(sys.argv[1], int(sys.argv[2]))"


class PeerError(RuntimeError):
    """What went wrong in a peer's process."""


class Built(NamedTuple):
    """What is known of a peer once it is built.

    Attributes:
      variants: seconds of a step of each way of writing it; the first named is the fastest.
      first_seconds: from nothing to the end of its first step: tracing, compiling, running.
      loss: of the first step.
      gradient: that of the first step, by name; for MAML the meta-gradient.
      info: what the peer says of itself.
    """

    variants: dict[str, float]
    first_seconds: float
    loss: float
    gradient: dict[str, np.ndarray]
    info: dict[str, Any]


class Memory(NamedTuple):
    """Bytes that the process held, at most.

    Attributes:
      building: while the peer was built, above what there was before.
      running: while it ran, above what there was before it was built.
      step: while it ran, above what it holds between steps.
      device: on an accelerator; None on a CPU.
      idle_share: of one core, used while others had their turn.
    """

    building: int
    running: int
    step: int
    device: int | None
    idle_share: float


class Ask(Protocol):
    """``ask(command, **arguments) -> answer``: a method of `Session`, in the peer's process."""

    def __call__(self, command: str, **arguments: Any) -> Any: ...


@contextlib.contextmanager
def worker(peer: str, threads: int) -> Iterator[Ask]:
    """Starts the process of ``peers/PEER.py`` on so many cores; it ends with the block."""
    paths = [str(_HERE), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, peer, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            # Several processes share a GPU here: none may take its memory beforehand.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            # The time to compile is measured.
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
            # NumPy's products take as many threads as the others'.
            "OPENBLAS_NUM_THREADS": str(threads),
        },
    )
    to, back = process.stdin, process.stdout

    def ask(command: str, **arguments: Any) -> Any:
        try:
            pickle.dump((command, arguments), to)
            to.flush()
            answer = pickle.load(back)
        except (EOFError, OSError, ValueError):
            raise PeerError(f"its process ended with status {process.wait()}") from None
        if isinstance(answer, PeerError):
            raise answer
        return answer

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def serve(peer: str, threads: int) -> None:
    """Answers on the real standard output; what a framework prints goes to standard error."""
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    session = None
    while True:
        try:
            command, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            session = session or Session(peer, threads)
            answer = getattr(session, command)(**arguments)
        except Exception as error:
            answer = PeerError(f"{type(error).__name__}: {error}")
        pickle.dump(answer, back)
        back.flush()


class Session:
    """The peer in its process: ``start``, then ``build``, then ``take`` as often as wanted."""

    def __init__(self, peer: str, threads: int) -> None:
        self.module = importlib.import_module(f"peers.{peer}")
        self.threads = threads

    def start(self, *, row: Any) -> str:
        """Brings the framework up and names the device."""
        device = self.module.start(row, self.threads)
        forget_peak()
        self.before = resident_bytes()
        return device

    def build(self, *, problem: Any) -> Built:
        """Builds every variant, takes steps with each and keeps the fastest."""
        variants = self.module.build(problem)
        tried = []
        for name, make in variants.items():
            self.peer = self.state = None
            built = self._build_one(make)
            seconds = min(self._steps(1) for _ in variants)
            tried.append((seconds, name, built, self.peer, self.state))
        tried.sort(key=lambda one: one[0])
        _, _, built, self.peer, self.state = tried[0]
        times = {name: seconds for seconds, name, *_ in tried}
        tried.clear()

        self.building = peak_bytes() - self.before
        gc.collect()
        time.sleep(_REST)
        forget_peak()
        self.between = resident_bytes()
        self.idle_cpu = self.idle_wall = 0.0
        self.left_off = (time.process_time(), time.perf_counter())
        return built._replace(variants=times)

    def take(self, *, steps: int) -> float:
        """Seconds a step, over so many."""
        self.idle_cpu += time.process_time() - self.left_off[0]
        self.idle_wall += time.perf_counter() - self.left_off[1]
        seconds = self._steps(steps)
        self.left_off = (time.process_time(), time.perf_counter())
        return seconds

    def memory(self) -> Memory:
        """What it has needed so far."""
        return Memory(
            self.building,
            peak_bytes() - self.before,
            peak_bytes() - self.between,
            self.module.device_bytes(),
            self.idle_cpu / max(self.idle_wall, 1e-9),
        )

    def _build_one(self, make: Callable[[], Any]) -> Built:
        began = time.perf_counter()
        peer = make()
        self.state, loss = peer.step(peer.state)
        peer.wait((self.state, loss))
        seconds = time.perf_counter() - began
        self.peer = peer._replace(state=None, info={})
        return Built({}, seconds, float(loss), peer.gradient(self.state), peer.info)

    def _steps(self, steps: int) -> float:
        began = time.perf_counter()
        if self.peer.many:
            self.state, loss = self.peer.many(self.state, steps)
        else:
            for _ in range(steps):
                self.state, loss = self.peer.step(self.state)
        self.peer.wait((self.state, loss))
        return (time.perf_counter() - began) / steps
