"""A throw-away certificate authority: the API server's certificate, and client certificates that are Kubernetes users.

A client certificate makes any user of any groups at run time; the static token file is read only once, at the start of the API server.
Made with the `openssl` program, so that the tests need no cryptography library; elliptic keys, because RSA keys cost 0.3 s each.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_DAYS = "30"


class CertificateError(Exception):
    """openssl is missing or refused; the message is one line."""


@dataclass(frozen=True)
class KeyPair:
    """Two PEM files."""

    certificate: Path
    key: Path


def _openssl(*arguments: str | Path) -> None:
    try:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise CertificateError("the program `openssl` is not on PATH") from None
    except subprocess.CalledProcessError as failed:
        raise CertificateError(f"`openssl {arguments[0]}` failed: {failed.stderr.strip()}") from None


class Authority:
    """One certificate authority, living in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = self._pair("ca")
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _DAYS, "-subj", "/CN=test-bed",
            "-keyout", self.root.key, "-out", self.root.certificate,
        )  # fmt: skip

    def server(self, *names: str) -> KeyPair:
        """A serving certificate for DNS names and IP addresses (written as `IP:127.0.0.1`)."""
        alternatives = ",".join(name if name.startswith("IP:") else f"DNS:{name}" for name in names)
        return self._issue("server", subject="/CN=localhost", extensions=f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth\n")

    def client(self, user: str, groups: tuple[str, ...] = ()) -> KeyPair:
        """A client certificate that the API server takes as this user in these groups."""
        escaped = [part.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+") for part in (*groups, user)]
        subject = "".join(f"/O={group}" for group in escaped[:-1]) + f"/CN={escaped[-1]}"
        return self._issue(f"user-{user.replace('/', '_').replace(':', '_')}", subject=subject, extensions="extendedKeyUsage=clientAuth\n")

    def signing_pair(self) -> KeyPair:
        """The private and the public key of service account tokens."""
        private, public = self.folder / "sa.key", self.folder / "sa.pub"
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
        _openssl("ec", "-in", private, "-pubout", "-out", public)
        return KeyPair(certificate=public, key=private)

    def _pair(self, name: str) -> KeyPair:
        return KeyPair(certificate=self.folder / f"{name}.crt", key=self.folder / f"{name}.key")

    def _issue(self, name: str, *, subject: str, extensions: str) -> KeyPair:
        pair = self._pair(name)
        request, extras = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extras.write_text(extensions, encoding="utf-8")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        _openssl("req", "-new", *curve, "-subj", subject, "-keyout", pair.key, "-out", request)
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.root.certificate, "-CAkey", self.root.key, "-CAcreateserial", "-days", _DAYS,
            "-extfile", extras, "-out", pair.certificate,
        )  # fmt: skip
        return pair
