"""The child process that makes clips: `python -m lus_ray.data.ingest.simulation_child FD`."""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

from lus_ray.data.ingest.simulation import list_clips, write_error, write_reply
from lus_ray.errors import LusError


def serve(connection: socket.socket) -> None:
    """Make the clips whose names arrive, until the other side closes the connection."""
    requests = connection.makefile("rb")
    clips = list_clips(*json.loads(requests.readline()))
    names: SimpleQueue[str] = SimpleQueue()
    Thread(target=_receive, args=(requests, names), daemon=True).start()
    while True:
        try:
            reply = write_reply(clips.make_row(names.get()))
        except LusError as error:
            reply = write_error(error)
        connection.sendall(reply)


def _receive(requests: BinaryIO, names: "SimpleQueue[str]") -> None:
    """Why a thread: the process ends with its parent, also in the middle of a long clip."""
    with suppress(ConnectionResetError):  # a parent that was killed had not read a reply
        for line in requests:
            names.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # the other side is gone
        serve(socket.socket(fileno=int(sys.argv[1])))
