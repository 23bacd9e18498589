"""Where credentials come from: a kubeconfig, the pod's service account, or fixed values. Blocking; `auth` calls it in threads.

The official package reads kubeconfigs, speaks to OIDC issuers and starts exec plug-ins, so that whatever works with kubectl
works here. Three of its habits are mended on the way: a failing exec plug-in is logged and then forgotten (we would go on
as anonymous), `tokenFile` is read once in a lifetime and loses against `token`, and tokens keep their trailing newline.
It is imported inside functions: importing any part of it loads all of it (0.4 s).
"""

from __future__ import annotations

import base64
import importlib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from canary.core.errors import Rejected

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What one reading of a source gives. `authorization` is a whole header value, or empty for none."""

    server: str
    authorization: str = field(default="", repr=False)
    expires: float | None = None
    """Unix seconds after which the source should be read again, as the source itself said."""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False
    server_name: str = ""
    """Name to verify in the server's certificate instead of the URL's host."""
    proxy: str = ""
    files: tuple[str, ...] = ()
    """Files that the above was read from: a change of one of them is a reason to read again."""


class Source(Protocol):
    """Something that can be read again and again. `read` raises Rejected; it may block for long (exec plug-ins)."""

    @property
    def label(self) -> str:
        """For people: which file and context, or whose account."""
        ...

    def read(self) -> Login:
        """The credentials as they are now."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSource:
    """Values given by the caller: `--master` alone, the sandbox, tests."""

    login: Login
    label: str = "anonymous"

    def read(self) -> Login:
        """Always the same."""
        return self.login


@dataclass(frozen=True, slots=True)
class InClusterSource:
    """The service account of our own pod. The kubelet replaces the token file long before the token expires."""

    environ: Mapping[str, str]
    folder: Path = SERVICE_ACCOUNT
    master: str = ""
    label: str = "the pod's service account"

    def read(self) -> Login:
        """Raises Rejected when a file is missing or empty."""
        client, incluster = _official("client"), _official("config.incluster_config")
        token, authority = self.folder / "token", self.folder / "ca.crt"
        loader = incluster.InClusterConfigLoader(token_filename=str(token), cert_filename=str(authority), environ=self.environ)
        configuration = client.Configuration()
        try:
            loader.load_and_set(configuration)
        except (_official("config.config_exception").ConfigException, OSError) as error:
            raise Rejected(
                f"cannot use the service account in {self.folder}: {error}",
                hint="set automountServiceAccountToken: true on the pod, or pass --kubeconfig",
            ) from error
        secret = str(configuration.api_key["BearerToken"]).partition(" ")[2].strip()
        return Login(
            server=_server(self.master) or str(configuration.host),
            authorization=f"Bearer {secret}",
            ca_file=str(configuration.ssl_ca_cert),
            files=(str(token), str(authority)),
        )


class KubeconfigSource:
    """One or more kubeconfig files, as kubectl merges them. `paths` is a path, or several joined by `os.pathsep`."""

    def __init__(self, paths: str, *, context: str = "", master: str = "") -> None:
        self._paths = paths
        self._context = context
        self._master = master
        self._seen: tuple[object, ...] = ()
        self._merger: Any = None

    @property
    def label(self) -> str:
        """The files and, when it was asked for, the context."""
        return f"kubeconfig {self._paths}" + (f", context {self._context}" if self._context else "")

    def read(self) -> Login:
        """Raises Rejected for a missing or broken file, an unknown context, a failing exec plug-in."""
        import yaml

        problem = _official("config.config_exception").ConfigException
        try:
            return self._read()
        except (problem, OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
            text = str(error) or type(error).__name__
            raise Rejected(f"cannot use {self.label}: {text}", hint="look whether `kubectl get --raw /version` works with it") from error

    def _read(self) -> Login:
        client, kube = _official("client"), _official("config.kube_config")
        config = self._config(kube)
        name = self._context or config["current-context"]
        context = config["contexts"].get_with_name(name)["context"]
        cluster = config["clusters"].get_with_name(context["cluster"])["cluster"]
        entry = config["users"].get_with_name(context.safe_get("user") or "", safe=True) if config.safe_get("users") else None
        expires: float | None = None
        plain, user = config, None
        if entry is not None and entry.value.get("user"):
            user = entry["user"]
            replaced, expires = self._plain_user(user, cluster)
            plain = _with_user(kube, config, entry, replaced)
        loader = kube.KubeConfigLoader(
            config_dict=plain, active_context=name, config_base_path=None, config_persister=None if plain is not config else self._persist
        )
        configuration = client.Configuration()
        loader.load_and_set(configuration)
        if "server" not in cluster and not self._master:
            raise Rejected(f"cluster {context['cluster']} in {self.label} names no server", hint="add `server:` to it, or pass --master")
        return self._login(configuration, expires, _files(cluster, user), server=_server(self._master))

    def _login(self, configuration: Any, expires: float | None, files: tuple[str, ...], *, server: str) -> Login:
        return Login(
            server=server or str(configuration.host),
            authorization=str(configuration.api_key.get("BearerToken") or "").strip(),
            expires=expires,
            ca_file=configuration.ssl_ca_cert or "",
            cert_file=configuration.cert_file or "",
            key_file=configuration.key_file or "",
            insecure=not configuration.verify_ssl,
            server_name=configuration.tls_server_name or "",
            proxy=_proxy(configuration, server or str(configuration.host)),
            files=(*(str(path) for path in self._merger.paths), *files),
        )

    def _config(self, kube: Any) -> Any:
        """The merged files, read again only when they changed: a token refreshed in memory must survive a read-only file."""
        seen = fingerprint(tuple(str(Path(path).expanduser()) for path in self._paths.split(os.pathsep)))
        if self._merger is None or seen != self._seen:
            merger = kube.KubeConfigMerger(self._paths)
            if merger.config is None:
                raise Rejected(f"{self.label} does not exist, or is empty", hint="name an existing file with --kubeconfig or KUBECONFIG")
            self._merger, self._seen = merger, seen
        return self._merger.config

    def _persist(self) -> None:
        """Keep a rotated OIDC refresh token for kubectl too. A kubeconfig on a read-only volume is no reason to fail."""
        try:
            self._merger.save_changes()
        except OSError:
            return
        self._seen = fingerprint(tuple(self._merger.paths))

    @staticmethod
    def _plain_user(user: Any, cluster: Any) -> tuple[dict[str, Any] | None, float | None]:
        """The user without what the official loader mishandles, and the expiry that a plug-in gave. None: take it as it is."""
        if "exec" in user and not ("token" in user or "tokenFile" in user):
            return _from_plugin(user, cluster)
        if "tokenFile" in user and "token" in user:
            return {key: value for key, value in user.value.items() if key != "token"}, None
        return None, None


def _from_plugin(user: Any, cluster: Any) -> tuple[dict[str, Any], float | None]:
    provider = _official("config.exec_provider").ExecProvider
    command = str(user["exec"].safe_get("command") or "")
    hint = str(user["exec"].safe_get("installHint") or f"run `{command}` by hand; it must print an ExecCredential")
    try:
        status = provider(user["exec"], str(_folder(user)), cluster).run()
    except FileNotFoundError as error:
        raise Rejected(f"the credential plug-in `{command}` is not installed", hint=hint) from error
    except Exception as error:  # whatever a foreign program does, say which program it was
        raise Rejected(f"the credential plug-in `{command}` failed: {error}", hint=hint) from error
    plain = {key: value for key, value in user.value.items() if key != "exec"}
    if status.get("token"):
        plain["token"] = status["token"]
    elif status.get("clientCertificateData") and status.get("clientKeyData"):
        for key, field in (("client-certificate", "clientCertificateData"), ("client-key", "clientKeyData")):
            plain.pop(key, None)
            plain[f"{key}-data"] = base64.b64encode(status[field].encode()).decode()
    else:
        raise Rejected(f"the credential plug-in `{command}` gave neither a token nor a certificate with its key", hint=hint)
    stamp = status.get("expirationTimestamp")
    return plain, datetime.fromisoformat(stamp).timestamp() if stamp else None


def _with_user(kube: Any, config: Any, entry: Any, user: dict[str, Any] | None) -> Any:
    """The merged config with one user replaced. The original stays as it was: it may be written back to disk."""
    if user is None:
        return config
    node = kube.ConfigNode(entry.name, {**entry.value, "user": user}, entry.path)
    return kube.ConfigNode(config.name, {**config.value, "users": [node]}, config.path)


def _files(cluster: Any, user: Any) -> tuple[str, ...]:
    """The files that cluster and user name, relative to the kubeconfig that names them."""
    named = [(cluster, "certificate-authority")]
    if user is not None:
        named += [(user, "tokenFile"), (user, "client-certificate"), (user, "client-key")]
    return tuple(str(_folder(node) / node.safe_get(key)) for node, key in named if node.safe_get(key))


def _folder(node: Any) -> Path:
    return Path(node.path).absolute().parent


def _server(master: str) -> str:
    """`--master` as a URL: without a scheme it is plain HTTP, as client-go has it."""
    master = master.rstrip("/")
    return master if not master or "://" in master else f"http://{master}"


def _proxy(configuration: Any, server: str) -> str:
    """The kubeconfig's `proxy-url`, or the environment's proxy unless the server is excepted from it. Loopback always is."""
    proxy = str(configuration.proxy or "")
    host = urlsplit(server).hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback or proxy_bypass_environment(host, {"no": configuration.no_proxy or ""}):
        return ""
    if proxy and urlsplit(proxy).scheme not in {"http", "https"}:
        raise Rejected(f"the proxy {proxy} for {server} is not an HTTP proxy", hint="use an http:// proxy-url in the kubeconfig")
    return proxy


def fingerprint(files: tuple[str, ...]) -> tuple[object, ...]:
    """Changes whenever one of the files is replaced or rewritten. A missing file is a state like any other."""
    marks: list[object] = []
    for path in files:
        try:
            status = Path(path).stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(marks)


def _official(module: str) -> Any:
    return importlib.import_module(f"kubernetes.{module}")
