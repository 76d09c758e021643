"""`python -m serve.plugin.server …`: vLLM's API server on a socket that its supervisor listens on.

The arguments are vLLM's own and so is the server (`run_server_worker`, which vLLM gives the socket to where it runs
several API servers). Because the socket belongs to the supervisor, it outlives this process: nobody who connects while
vLLM starts or restarts is refused. Follows vLLM 0.32's `vllm.entrypoints.launchers.api_server.entry`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from argparse import Namespace

import uvloop
from vllm.entrypoints.launchers.api_server.entry import run_server_worker
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import validate_api_server_args
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup, log_non_default_args, log_version_and_model
from vllm.logger import configure_logging_from_args, init_logger
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.system_utils import decorate_logs, set_ulimit
from vllm.version import __version__ as vllm_version

from harness.core.errors import EngineError

# vLLM only logs a plugin that does not import, and would run without it.
from serve.plugin import lora_cpu, resolver, routes  # noqa: F401
from serve.plugin.door import READY_FD, TURN_FD
from serve.versions import check_vllm

LISTEN_FD = "RATCHET_LISTEN_FD"
log = init_logger("vllm.ratchet.server")


def main() -> None:
    try:
        if warning := check_vllm():
            print(warning, flush=True)
    except EngineError as error:
        sys.exit(error.one_line())
    cli_env_setup()
    arguments = make_arg_parser(FlexibleArgumentParser(description="vLLM's API server, for Ratchet")).parse_args()
    configure_logging_from_args(arguments)
    validate_parsed_serve_args(arguments)
    log_version_and_model(log, vllm_version, arguments.model)
    log_non_default_args(arguments)
    validate_api_server_args(arguments)
    set_ulimit()
    listening = inherited()
    uvloop.run(serve(arguments, listening))


def inherited() -> socket.socket:
    """The supervisor's socket. Neither it nor the pipes to the supervisor are passed on to vLLM's own children."""
    listening = socket.socket(fileno=int(os.environ.pop(LISTEN_FD)))
    listening.set_inheritable(False)
    for name in (READY_FD, TURN_FD):
        if name in os.environ:
            os.set_inheritable(int(os.environ[name]), False)
    return listening


async def serve(arguments: Namespace, listening: socket.socket) -> None:
    """Until SIGTERM. During the start, before uvicorn handles it, SIGTERM ends the process at once."""
    decorate_logs("APIServer", skip_if_decorated=True)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt("terminated")

    signal.signal(signal.SIGTERM, interrupt)
    host, port = listening.getsockname()[:2]
    await run_server_worker(f"http://{host}:{port}", listening, arguments)


if __name__ == "__main__":
    main()
