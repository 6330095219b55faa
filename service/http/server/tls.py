"""TLS: the service's certificate and key, read again when their files change."""

from __future__ import annotations

import logging
import ssl
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from vaegis.service.errors import SettingsError
from vaegis.service.regular_files import require_regular
from vaegis.service.reloaded_files import ReloadedFiles

_LOG: Final = logging.getLogger("vaegis.http")
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


class CertificateError(SettingsError):
    """Files of a certificate and its key that cannot be used."""


def tls_context(
    certificate: Path | None, key: Path | None, *, now: Callable[[], float] = time.monotonic
) -> ReloadedFiles[ssl.SSLContext] | None:
    """Return the TLS context of a certificate chain and its private key, both in PEM; None where none are named.

    Raises:
        CertificateError: only one is named, or they cannot be used.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing, given = ("tls_key", "tls_certificate") if key is None else ("tls_certificate", "tls_key")
        raise CertificateError(f"{missing}: must be set together with {given}")
    return ReloadedFiles((certificate, key), partial(_read, certificate, key), partial(_log_reload, key), now=now)


def warn_if_exposed(key: Path) -> None:
    """Log a warning if others may read the private key, or change it."""
    try:
        mode = key.stat().st_mode
    except OSError:  # it is being replaced, and the next reload tells
        return
    if mode & _OTHERS:
        _LOG.warning("private key open to others", extra={"fields": {"file": str(key), "mode": f"{mode & 0o777:o}"}})


def _log_reload(key: Path, error: SettingsError | None) -> None:
    if error is None:
        _LOG.info("certificate read again")
        warn_if_exposed(key)
    else:
        _LOG.error("certificate not read again", extra={"fields": {"reason": str(error)}})


def _read(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        for path in (certificate, key):
            require_regular(path)  # its error names the file, and that of the next line does not
        # Without a password, a key that needs one would ask for it at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or type(error).__name__).replace("_", " ").lower()
        raise CertificateError(
            f"{certificate}, {key}: expected a certificate and its key in PEM, without a password, got: {reason}"
        ) from error
    except OSError as error:
        raise CertificateError(
            f"{error.filename or f'{certificate}, {key}'}: cannot be read: {error.strerror}"
        ) from error
    return context
