"""Downloads that resume, appear whole or not at all, and do not keep anyone waiting."""

import http.client
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from jaxfer.typing import UserError

_BLOCK = 1 << 16  # bytes


def download(url: str, path: Path, *, patience: float = 5.0) -> Path:
    """Downloads a file, going on with what an earlier, interrupted call has left.

    The bytes gather in ``path`` with ``.part`` appended, which takes its name once it is complete.
    A connection that breaks is taken up again for as long as each one brings something. Of two
    processes that want the same file, one downloads it.

    Args:
      url: an http or https address.
      path: where the file shall stand; if it already does, nothing is done.
      patience: seconds until a server that does not answer, or falls silent, is given up.

    Returns:
      ``path``.

    Raises:
      UserError: the server could not be reached or does not have the file, or ``path`` not written.

    >>> import tempfile
    >>> here = Path(tempfile.mkdtemp()) / "nothing"
    >>> download("http://127.0.0.1:9/nothing", here)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: http://127.0.0.1:9/nothing could not be downloaded: ...
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                _fetch(url, part, patience)
                part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{url} could not be downloaded: {reason}.") from error
    return path


def _fetch(url: str, part: Path, patience: float) -> None:
    """Connects and reads until ``part`` is complete, or a connection brings nothing."""
    while True:
        start = part.stat().st_size if part.exists() else 0
        try:
            response = _open(url, start, patience)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not start:  # not: the range begins past the end
                raise
            part.unlink()  # it cannot belong to this file
            continue
        with response:
            resumed = response.status == 206
            length = response.headers.get("Content-Length")
            total = None if length is None else int(length) + resumed * start
            lost = _append(response, part, resumed * start, total)
        size = part.stat().st_size
        if lost is None and (total is None or size == total):
            return
        if size <= start:
            raise lost or OSError(f"it ends after {size} of {total} bytes")


def _open(url: str, start: int, patience: float) -> Any:
    """Sends the request in a thread: a name look-up that hangs knows of no timeout."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    answer: Future[Any] = Future()

    def connect() -> None:
        try:
            answer.set_result(urllib.request.urlopen(request, timeout=patience))
        except Exception as error:  # any: it is raised again in the caller's thread
            answer.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return answer.result(patience)
    except TimeoutError as error:  # of the wait, or of the connection
        answer.add_done_callback(_close)
        raise TimeoutError(f"no answer within {patience:g} seconds") from error


def _close(answer: Future[Any]) -> None:
    """Closes a connection that came too late."""
    if answer.exception() is None:
        answer.result().close()


def _append(response: Any, part: Path, start: int, total: int | None) -> Exception | None:
    """Writes the response to ``part`` from byte ``start`` on; returns what broke the connection."""
    with (
        open(part, "ab" if start else "wb") as file,
        tqdm(
            desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, file=sys.stderr
        ) as bar,
    ):
        while True:
            try:
                block = response.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                return error
            if not block:
                return None
            file.write(block)
            bar.update(len(block))
