"""`vaegis serve`: serve a model over HTTP."""

from __future__ import annotations

import errno
import os
import socket
from argparse import SUPPRESS, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

from vaegis.service.auth.keys import require_keys_or_open
from vaegis.service.commands import Subparsers
from vaegis.service.errors import AddressError, SettingsError
from vaegis.service.model_file import Expected, read_model_file
from vaegis.service.settings import (
    ENVIRONMENT_ONLY,
    TRUTH_VALUES,
    Settings,
    described_settings,
    flag_of,
    load_settings,
)
from vaegis.service.terminal import printable

_BACKLOG: Final = 2048  # connections that wait to be accepted
_LOOPBACK: Final = ("127.0.0.1", "::1")
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""Family of a socket, and an address as sockets of it take it: the first two are the host and the port."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its flags, one for each setting."""
    parser = subparsers.add_parser(
        "serve",
        help="serve a model over HTTP",
        description="Serve a model over HTTP. Each flag can also be set by an environment variable or in a TOML file; "
        "docs/settings.md.",
    )
    parser.add_argument("model", type=Path, help="the file that vaegis-train wrote, or a folder with NAME/VERSION.onnx")
    # As the other commands call them; the names of settings tell what they are about.
    parser.add_argument("--digest", dest="model_digest", help=SUPPRESS)
    parser.add_argument("--public-key", dest="model_public_key", help=SUPPRESS)
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (default $VAEGIS_CONFIG)")
    title, group = "", parser.add_argument_group()
    for setting in described_settings():
        if setting.group != title:
            title, group = setting.group, parser.add_argument_group(setting.group)
        if setting.name in ENVIRONMENT_ONLY:
            continue
        values = " ".join(filter(None, (setting.allowed, setting.unit)))
        text = f"{setting.meaning} ({values}; default {setting.default})"
        if setting.allowed == TRUTH_VALUES:
            group.add_argument(flag_of(setting.name), action=BooleanOptionalAction, help=text)
        else:
            group.add_argument(flag_of(setting.name), metavar=setting.name.upper(), help=text)
    parser.set_defaults(func=run)


def run(args: Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 1 if a worker could not answer all it held by then.

    Raises:
        SettingsError: a setting has an unknown name or a bad value, or strangers could call.
        AlphaError: the model's calibration cannot promise the alpha that is set.
        ArtifactError: the model file cannot be used, or is not the one that was expected.
        AddressError: the address cannot be listened on.
    """
    # What only this command needs is loaded here. A parent of workers does without what they need to score.
    from vaegis.service.http.server.tls import tls_context
    from vaegis.service.workers.container import fitted_to_memory, fitting_workers

    flags = {name: getattr(args, name, None) for name in Settings.model_fields}
    settings = load_settings(os.environ, flags, args.config)
    tls_context(settings.tls_certificate, settings.tls_key)  # a bad one is reported before anything starts
    model = _model_bytes(args.model, settings)
    workers = fitting_workers() if settings.workers is None else settings.workers
    settings = fitted_to_memory(settings, workers)
    with ExitStack() as sockets:
        listening = [sockets.enter_context(each) for each in _listening(settings)]
        if settings.uds is None:
            for each in listening:
                require_keys_or_open(each.getsockname()[0], has_keys=settings.has_keys, is_open=settings.open)
        address = _address(settings, listening[0])

        def announce(model_name: str) -> None:
            print(f"vaegis is serving {printable(model_name)} on {address}", flush=True)

        if workers > 1:
            from vaegis.service.workers.supervisor import serve_by_workers

            return serve_by_workers(model, str(args.model), settings, listening, workers=workers, on_listening=announce)
        from vaegis.service.workers.serving import serve

        serve(model, str(args.model), settings, listening, on_listening=announce)
        return 0


def _model_bytes(path: Path, settings: Settings) -> bytes | None:
    """Return the content of the model file; None for a folder, whose models the workers read."""
    if not path.is_dir():
        return read_model_file(path, Expected(settings.model_digest, settings.model_public_key))
    if settings.model_digest is not None:
        raise SettingsError(
            "model_digest: expected none for a folder of models, whose pointer files have one for each version; "
            "VAEGIS_MODEL_PUBLIC_KEY can require signatures"
        )
    return None


def _listening(settings: Settings) -> list[socket.socket]:
    try:
        if settings.uds is not None:
            return [unix_socket(settings.uds)]
        return listening_sockets(settings.host, settings.port)
    except OSError as error:
        address = f"{settings.host}:{settings.port}" if settings.uds is None else str(settings.uds)
        is_taken = settings.uds is None and error.errno == errno.EADDRINUSE
        other = f"; {flag_of('port')} chooses another" if is_taken else ""
        raise AddressError(f"{address}: cannot listen on this address: {error.strerror or error}{other}") from error


def _address(settings: Settings, listening: socket.socket) -> str:
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host, port = listening.getsockname()[:2]
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def unix_socket(path: Path) -> socket.socket:
    """Return a socket that listens at a path, which an earlier process may have left there.

    Raises:
        OSError: there is something else at that path, another process listens there, or no socket can be made.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            if client.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another process listens here")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on the addresses that ``host`` names, all on one port.

    ``localhost`` names both loopback addresses, whatever the system's table of hosts says (RFC 6761): clients differ in
    which of them they try. An address that this machine does not have is passed over if there is another.

    Raises:
        OSError: there is no such address, or one is taken.
    """
    names = _LOOPBACK if host.lower() == "localhost" else (host,)
    addresses = list(dict.fromkeys(address for name in names for address in _addresses(name, port)))
    while True:
        try:
            return _sockets_at(addresses)
        except OSError as error:
            # The first address was given a free port that another program uses on the second.
            if port != 0 or error.errno != errno.EADDRINUSE:
                raise


def _sockets_at(addresses: Sequence[_Address]) -> list[socket.socket]:
    """Return sockets that listen on the addresses, on the port of the first of them; close all if one fails."""
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        for family, (name, port, *rest) in addresses:
            shared = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(opened.enter_context(_listening_socket(family, (name, shared, *rest))))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
        if not sockets:
            raise missing
        opened.pop_all()
    return sockets


def _addresses(name: str, port: int) -> list[_Address]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _, _, _, address in found]


def _listening_socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # so that :: takes IPv4 as well
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
