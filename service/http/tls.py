"""TLS: the service's certificate and key, read again when their files change."""

from __future__ import annotations

import logging
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vaegis.service.errors import SettingsError

_LOG: Final = logging.getLogger("vaegis.http")
_RETRY_S: Final = 1.0
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
_Stamp = tuple[tuple[int, int, int, int], ...]


class CertificateError(SettingsError):
    """Files of a certificate and its key that cannot be used."""


def certificate_of(certificate: Path | None, key: Path | None) -> Certificate | None:
    """Return the certificate in two files, or None where none are named.

    Raises:
        CertificateError: only one is named, or they cannot be used.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing, given = ("tls_key", "tls_certificate") if key is None else ("tls_certificate", "tls_key")
        raise CertificateError(f"{missing}: must be set together with {given}")
    return Certificate(certificate, key)


class Certificate:
    """A certificate chain and its private key, both in PEM."""

    def __init__(self, certificate: Path, key: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        """Read the files; ``now`` is the time, in seconds.

        Raises:
            CertificateError: they cannot be read, or do not belong together.
        """
        self._certificate = certificate
        self._key = key
        self._now = now
        self._failure: tuple[_Stamp, str] | None = None
        self._retry_at = 0.0
        self._stamp = self._files()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of the newest files that can be used."""
        try:
            stamp = self._files()
        except CertificateError:
            stamp = ()
        if stamp != self._stamp or (self._failure is not None and self._now() >= self._retry_at):
            self._stamp = stamp
            self._refresh()
        return self._context

    def warn_if_exposed(self) -> None:
        """Log a warning if others may read the private key, or change it."""
        mode = self._key.stat().st_mode if self._key.exists() else 0
        if mode & _OTHERS:
            fields = {"file": str(self._key), "mode": f"{mode & 0o777:o}"}
            _LOG.warning("private key open to others", extra={"fields": fields})

    def _refresh(self) -> None:
        """Read the files again. If they cannot be used, keep the old ones and try again a second later."""
        try:
            self._context = self._read()
        except CertificateError as error:
            failure = self._stamp, str(error)
            if failure != self._failure:  # logged once, however often it is tried
                _LOG.error("certificate not read again", extra={"fields": {"reason": str(error)}})
            self._failure, self._retry_at = failure, self._now() + _RETRY_S
            return
        self._failure = None
        _LOG.info("certificate read again")
        self.warn_if_exposed()

    def _files(self) -> _Stamp:
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError as error:
            raise CertificateError(f"{error.filename}: cannot be read: {error.strerror}") from error
        return tuple((each.st_mtime_ns, each.st_ctime_ns, each.st_size, each.st_ino) for each in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password, a key that needs one would ask for it at the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise CertificateError(
                f"{self._certificate}, {self._key}: expected a certificate and its key in PEM, without a password, "
                f"got: {str(reason).replace('_', ' ').lower()}"
            ) from error
        return context
