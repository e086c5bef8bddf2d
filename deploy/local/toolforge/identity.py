"""Certificates and tokens: the gateway's authority, and each tool's `~/.toolskube` and kubeconfig.

Identity at the gateway is the certificate's common name (contract 1). Everything lies under the state folder
and survives a restart.
"""

from __future__ import annotations

import datetime
import secrets
import ssl
from pathlib import Path

import trustme
import yaml

from deploy.local.toolforge.storage import write_atomically

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME. nginx, in front of the real gateway, also finishes the handshake with
#: an
#: expired certificate and answers over HTTP; the gateway checks the date itself.
NO_CHECK_TIME = 0x200000


class Identities:
    """The authority and the credentials of each tool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file = folder / "ca.crt"
        self._ca = self._authority()
        self._tools_by_token: dict[str, str] = {}

    def home(self, tool: str) -> Path:
        """The tool's home, holding `.toolskube/` and `.kube/config`."""
        return self._folder / "tools" / tool

    def server_context(self) -> ssl.SSLContext:
        """TLS for the gateway: a client certificate is asked for, not demanded."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
        return context

    def add(self, tool: str) -> None:
        """Make sure that a tool has credentials."""
        kube = self.home(tool) / ".toolskube"
        if not (kube / "client.crt").exists():
            self.issue(tool)
        token_file = kube / "token"
        if not token_file.exists():
            write_atomically(token_file, secrets.token_urlsafe(32))
        self._tools_by_token[token_file.read_text(encoding="utf-8").strip()] = tool

    def issue(self, tool: str, *, expired: bool = False) -> None:
        """Write a new certificate and key for a tool; `expired` gives one that ended an hour ago."""
        now = datetime.datetime.now(datetime.UTC)
        end = now + (datetime.timedelta(hours=-1) if expired else datetime.timedelta(days=365))
        leaf = self._ca.issue_cert(
            common_name=tool,
            organization_name="toolforge",
            not_before=now - datetime.timedelta(days=1),
            not_after=end,
        )
        kube = self.home(tool) / ".toolskube"
        write_atomically(kube / "client.crt", b"".join(b.bytes() for b in leaf.cert_chain_pems).decode())
        write_atomically(kube / "client.key", leaf.private_key_pem.bytes().decode())

    def write_kubeconfig(self, tool: str, server: str) -> Path:
        """The kubeconfig that Toolforge's command-line clients read; its namespace names the tool."""
        kube = self.home(tool) / ".toolskube"
        user = {"client-certificate": str(kube / "client.crt"), "client-key": str(kube / "client.key")}
        cluster = {"server": server, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "toolforge", "cluster": cluster}],
            "users": [{"name": f"tf-{tool}", "user": user}],
            "contexts": [
                {
                    "name": "toolforge",
                    "context": {"cluster": "toolforge", "namespace": f"tool-{tool}", "user": f"tf-{tool}"},
                }
            ],
            "current-context": "toolforge",
        }
        path = self.home(tool) / ".kube" / "config"
        write_atomically(path, yaml.safe_dump(config))
        return path

    def tool_of_token(self, token: str) -> str | None:
        """Whose bearer token this is."""
        return self._tools_by_token.get(token)

    def _authority(self) -> trustme.CA:
        key_file = self._folder / "ca.key"
        if self.ca_file.exists() and key_file.exists():
            return trustme.CA.from_pem(self.ca_file.read_bytes(), key_file.read_bytes())
        ca = trustme.CA(organization_name="local Toolforge")
        write_atomically(key_file, ca.private_key_pem.bytes().decode())
        write_atomically(self.ca_file, ca.cert_pem.bytes().decode(), mode=0o644)
        return ca
