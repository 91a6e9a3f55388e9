"""Whether the server of this process still answers: a query may take long, so no call to it has an end of its own."""

import atexit
import logging
import signal
import threading
from typing import Any

import grpc
from pyspark.sql.connect.proto import AnalyzePlanRequest, SparkConnectServiceStub, UserContext

__all__ = ["watch"]

log = logging.getLogger(__name__)

_EVERY = 30  # seconds between two questions
_PATIENCE = 60  # seconds for an answer, which takes milliseconds
_UNANSWERED = 3  # in a row: after one a process may have been stopped, and go on
_TO_LEAVE = 10  # seconds; Sail waits at its end for what does not answer


def watch(client: Any) -> None:
    """Close the client's channel, and so end what waits for it, once its server has answered nothing for minutes."""
    threading.Thread(target=_watch, args=(client,), name="watch", daemon=True).start()


def _watch(client: Any) -> None:
    pause, unanswered = threading.Event(), 0
    # on a connection of its own the least of what goes a query's way
    server = SparkConnectServiceStub(grpc.insecure_channel(client._builder.endpoint))  # type: ignore[no-untyped-call]
    question = AnalyzePlanRequest(
        session_id=client._session_id,
        user_context=UserContext(user_id=client._user_id),
        spark_version=AnalyzePlanRequest.SparkVersion(),
    )
    while unanswered < _UNANSWERED:
        pause.wait(_EVERY)
        try:
            server.AnalyzePlan(question, timeout=_PATIENCE)
            unanswered = 0
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                return  # it is gone, which each call notices by itself
            unanswered += 1
            log.warning("the embedded engine's server has not answered for %d s", _PATIENCE)
    atexit.register(signal.alarm, _TO_LEAVE)
    client._channel.close()
