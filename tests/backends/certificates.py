"""A certificate authority of our own, made anew for each run."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme

from headgate.backends.connect import tls_context


class Authority:
    """A certificate authority of our own, and what a server or client makes of it."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def server(self, name: str = "localhost", *, expired: bool = False) -> ssl.SSLContext:
        """A server that shows a certificate for this name."""
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        leaf = (
            self.ca.issue_cert(name, not_before=now - 2 * day, not_after=now - day)
            if expired
            else self.ca.issue_cert(name)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def client(self) -> ssl.SSLContext:
        """What verifies it."""
        return tls_context(str(self.file))
