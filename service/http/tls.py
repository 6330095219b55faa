"""TLS: the certificate that clients are shown, read again when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

from vaegis.service.errors import SettingsError

_LOG: Final = logging.getLogger("vaegis.http")
_Stamp = tuple[tuple[int, int, int], ...]


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

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be read, or do not belong together.
        """
        self._certificate = certificate
        self._key = key
        self._stamp = self._files()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Return what a connection needs, of the newest files that can be used."""
        try:
            stamp = self._files()
        except CertificateError:
            stamp = ()
        if stamp != self._stamp:
            self._stamp = stamp  # files that cannot be used are told once, not at each connection
            try:
                self._context = self._read()
                _LOG.info("certificate read again")
            except CertificateError as error:
                _LOG.error("certificate not read again", extra={"fields": {"reason": str(error)}})
        return self._context

    def _files(self) -> _Stamp:
        try:
            stats = [path.stat() for path in (self._certificate, self._key)]
        except OSError as error:
            raise CertificateError(f"{error.filename}: cannot be read: {error.strerror}") from error
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

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
