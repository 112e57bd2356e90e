"""The process that writes: what the worker has computed, in order, so that the worker need not wait for disks.

It takes everything from the channel as it comes and keeps it until it is written. It outlives the worker: what was
computed is written first, then it ends. It ends at once when the parent does.
"""

from __future__ import annotations

import queue
import threading
from multiprocessing.connection import Connection

from vp_engine.cohort.engine import device_failures
from vp_engine.cohort.messages import Closed, Done, Failed, Opened
from vp_engine.cohort.outcome import Outcome
from vp_engine.cohort.participant import ParticipantWriter
from vp_engine.cohort.talking import CURRENT, Send, begin, log_to, portable, sender

_END = object()


def main(descriptor: int, channel: int, parent: int) -> None:
    """Write what comes through the channel, until its other end is closed; answer to the parent's socket."""
    begin(parent)
    serve(Connection(descriptor), Connection(channel))


def serve(connection: Connection, channel: Connection) -> None:
    """Write until there is no more."""
    send = sender(connection)
    try:
        log_to(send, connection.recv())
        received: queue.SimpleQueue[object] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(channel, received), daemon=True).start()
        _write(received, send)
    except (EOFError, ConnectionError):
        return  # the parent is gone


def _receive(channel: Connection, received: queue.SimpleQueue[object]) -> None:
    while True:
        try:
            received.put(channel.recv())
        except (EOFError, OSError):  # the latter in the middle of a message
            received.put(_END)
            return
        except Exception as error:  # noqa: BLE001 - what cannot be unpacked is told, and is the end
            received.put(error)
            received.put(_END)
            return


def _write(received: queue.SimpleQueue[object], send: Send) -> None:
    writer: ParticipantWriter | None = None
    while True:
        message = received.get()
        try:
            with device_failures():
                match message:
                    case Exception():
                        raise message
                    case Opened(job, begun, strays):
                        CURRENT.set(job.participant)
                        writer = ParticipantWriter(job, begun, strays=strays)
                    case Outcome() if writer is not None:
                        send(writer.write(message))
                    case Closed(participant, complete) if writer is not None:
                        if complete:
                            send(Done(participant, writer.close()))
                        writer = None
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - told to the parent, which knows what to do about it
            writer = None  # the rest of this participant is left out
            send(Failed(CURRENT.get(), portable(error), writing=True))
        if message is _END:
            return
