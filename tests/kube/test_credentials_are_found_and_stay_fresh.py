"""Credentials: where they are found, what is said when not, and that they are fresh when they rotate."""

import asyncio
import base64
import json
import ssl
import stat
import subprocess
import sys
import threading
import time

import pytest
import yaml
from aiohttp import web

from canary.core.errors import Forbidden, Rejected, Retryable
from canary.kube import auth
from canary.kube.auth import Credentials
from canary.kube.client import ApiClient
from canary.kube.login import Login
from canary.kube.resource import SERVICES
from canary.kube.transport import Timeouts
from tests.kube.scripted import answer, status

pytestmark = pytest.mark.slow

SERVER = "https://10.0.0.1:6443"


def jwt(exp):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


def kubeconfig(folder, user, *, server=SERVER, cluster=None, name="config"):
    path = folder / name
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c2", "user": "u2"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": server, **(cluster or {})}},
            {"name": "c2", "cluster": {"server": "https://two"}},
        ],
        "users": [{"name": "u", "user": user}, {"name": "u2", "user": {"token": "t2"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def plugin(folder, script):
    path = folder / "plugin"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "./plugin",
            "interactiveMode": "Never",
            "installHint": "get it at x",
        }
    }


PRINTS = """
import json, pathlib
calls = pathlib.Path("calls"); n = int(calls.read_text()) + 1 if calls.exists() else 1; calls.write_text(str(n))
status = {"token": f"token-{n}", "expirationTimestamp": "2030-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""
IN_2030 = 1893456000.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, a server certificate for 127.0.0.1, and two client certificates."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=ca")
    for name in ("server", "ann", "bob"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:api.internal")
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            f"{name}.crt",
            "-days",
            "2",
            "-extfile",
            "ext",
        )
    return folder


# ------------------------------------------------------------------------------------------------ where they are found


def test_nothing_anywhere_says_where_was_looked_and_what_to_pass(tmp_path):
    with pytest.raises(Rejected) as caught:
        auth.load(environ={"HOME": str(tmp_path)})
    assert ".kube/config" in caught.value.message
    assert "--kubeconfig" in caught.value.hint


def test_the_file_given_beats_the_environment_which_beats_the_pod_which_beats_the_home(tmp_path):
    given = kubeconfig(tmp_path, {"token": "given"}, name="given")
    named = kubeconfig(tmp_path, {"token": "env"}, name="named")
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube", {"token": "home"})
    pod = account(tmp_path, "pod")
    inside = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    home = {"HOME": str(tmp_path)}

    def found(**options):
        return asyncio.run(auth.load(service_account=pod, **options).authorization())

    assert found(kubeconfig=given, environ={**home, **inside, "KUBECONFIG": named}) == "Bearer given"
    assert found(environ={**home, **inside, "KUBECONFIG": named}) == "Bearer env"
    assert found(environ={**home, **inside}) == "Bearer pod"
    assert found(environ=home) == "Bearer home"
    assert found(context="two", environ={**home, **inside}) == "Bearer t2", "a context can only mean a kubeconfig"


def test_several_kubeconfigs_are_merged(tmp_path):
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"current-context": "two", "clusters": [], "contexts": [], "users": []}))
    second = kubeconfig(tmp_path, {"token": "x"})
    assert auth.load(environ={"KUBECONFIG": f"{first}:{tmp_path / 'absent'}:{second}"}).server == SERVER


def test_master_overrides_the_address_and_stands_alone_without_credentials(tmp_path):
    path = kubeconfig(tmp_path, {"token": "x"})
    assert auth.load(kubeconfig=path, master="https://other:1/").server == "https://other:1"
    alone = auth.load(master="127.0.0.1:8001", environ={"HOME": str(tmp_path)})
    assert alone.server == "http://127.0.0.1:8001"
    assert asyncio.run(alone.authorization()) == ""


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "abc"}, "Bearer abc"),
        ({"username": "ann", "password": "s"}, "Basic YW5uOnM="),
        ({}, ""),
    ],
)
def test_users_of_a_kubeconfig_become_headers(tmp_path, user, header):
    assert asyncio.run(auth.load(kubeconfig=kubeconfig(tmp_path, user)).authorization()) == header


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "cannot use kubeconfig"),
        ("just text", "cannot use kubeconfig"),
        ("", "cannot use kubeconfig"),
        ("{apiVersion: v1, kind: Config}", "current-context"),
        ("{current-context: x, contexts: [], clusters: [], users: []}", "x"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: [{name: c, cluster: {}}]}", "names no server"),
    ],
)
def test_a_broken_kubeconfig_is_one_sentence_with_its_name(tmp_path, text, says):
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(Rejected) as caught:
        auth.load(kubeconfig=str(path))
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_missing_kubeconfig_or_context_is_named(tmp_path):
    with pytest.raises(Rejected, match="/nowhere"):
        auth.load(kubeconfig="/nowhere")
    with pytest.raises(Rejected, match="third"):
        auth.load(kubeconfig=kubeconfig(tmp_path, {}), context="third")


def account(folder, token):
    pod = folder / "account"
    pod.mkdir(exist_ok=True)
    (pod / "token").write_text(token + "\n")
    (pod / "ca.crt").write_text("pem")
    return pod


INSIDE = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}


def test_the_pods_account_is_used_with_an_ipv6_address(tmp_path):
    found = auth.load(environ=INSIDE, service_account=account(tmp_path, "t"))
    assert found.server == "https://[fd00::1]:443"
    assert found.connection_info()["ca_path"] == str(tmp_path / "account" / "ca.crt")


def test_a_pod_without_a_token_says_which_field_of_the_pod_to_set(tmp_path):
    with pytest.raises(Rejected) as caught:
        auth.load(environ=INSIDE, service_account=tmp_path / "none")
    assert "automountServiceAccountToken" in caught.value.hint


# --------------------------------------------------------------------------------------------------- staying fresh


class Clock:
    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


async def test_a_rotated_service_account_token_is_used_without_a_refusal(tmp_path, api, client_for, monkeypatch):
    pod = account(tmp_path, "old")
    clock = Clock(time.time())
    credentials = Credentials(auth.InClusterSource(INSIDE, folder=pod, master=api.url), clock=clock)
    client = ApiClient(credentials)
    api.will(answer({"kind": "Service", "metadata": {}}))
    await client.get(SERVICES, "a", "b")
    (pod / "new").write_text("new\n")
    (pod / "new").rename(pod / "token")  # as the kubelet does: another inode
    clock.now += auth.LOOK
    await client.get(SERVICES, "a", "b")
    assert [seen.headers["Authorization"] for seen in api.seen] == ["Bearer old", "Bearer new"]
    await client.close()


async def test_a_token_refused_before_we_looked_is_read_again_and_the_write_repeated_once(tmp_path, api):
    pod = account(tmp_path, "old")
    client = ApiClient(Credentials(auth.InClusterSource(INSIDE, folder=pod, master=api.url)))
    api.will(status(401, "expired"), answer({"kind": "Service", "metadata": {}}))
    (pod / "token").write_text("new")
    await client.create(SERVICES, SERVICES.head("a", "b"))
    assert [seen.headers["Authorization"] for seen in api.seen] == ["Bearer old", "Bearer new"]
    api.will(status(401, "no"))
    with pytest.raises(Forbidden):
        await client.create(SERVICES, SERVICES.head("a", "b"))
    assert len(api.seen) == 3, "the same token is not tried twice"
    await client.close()


def test_a_rotated_token_file_of_a_kubeconfig_is_read_again_and_beats_an_inline_token(tmp_path):
    (tmp_path / "token").write_text("first\n")
    clock = Clock()
    source = auth.KubeconfigSource(kubeconfig(tmp_path, {"tokenFile": "token", "token": "inline"}))
    credentials = Credentials(source, clock=clock)
    assert asyncio.run(credentials.authorization()) == "Bearer first"
    (tmp_path / "token").write_text("second\n")
    assert asyncio.run(credentials.authorization()) == "Bearer first", "not looked yet"
    clock.now += auth.LOOK
    assert asyncio.run(credentials.authorization()) == "Bearer second"


def test_an_edited_kubeconfig_is_read_again(tmp_path):
    clock = Clock()
    credentials = Credentials(auth.KubeconfigSource(kubeconfig(tmp_path, {"token": "first"})), clock=clock)
    kubeconfig(tmp_path, {"token": "another"})
    clock.now += auth.LOOK
    assert asyncio.run(credentials.authorization()) == "Bearer another"


def test_a_plugin_runs_once_until_its_credential_is_about_to_expire(tmp_path):
    clock = Clock()
    credentials = Credentials(auth.KubeconfigSource(kubeconfig(tmp_path, plugin(tmp_path, PRINTS))), clock=clock)
    for _ in range(3):
        clock.now += 60
        assert asyncio.run(credentials.authorization()) == "Bearer token-1"
    clock.now = IN_2030 - auth.SKEW
    assert asyncio.run(credentials.authorization()) == "Bearer token-2"


async def test_many_who_wait_for_a_plugin_start_it_once_and_do_not_block_the_loop(tmp_path):
    clock = Clock()
    user = plugin(tmp_path, "import time; time.sleep(0.4)\n" + PRINTS)
    credentials = Credentials(auth.KubeconfigSource(kubeconfig(tmp_path, user)), clock=clock)
    clock.now = IN_2030
    turns = 0

    async def turning():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    other = asyncio.create_task(turning())
    headers = await asyncio.gather(*(credentials.authorization() for _ in range(20)))
    other.cancel()
    assert set(headers) == {"Bearer token-2"}
    assert turns > 10


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; sys.exit('log in first')", "log in first"),
        ("print('{')", "decode"),
        ('print(\'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}\')', "neither a token"),
    ],
)
def test_a_failing_plugin_is_an_error_with_its_own_words_and_not_an_anonymous_login(tmp_path, script, says):
    with pytest.raises(Rejected) as caught:
        auth.load(kubeconfig=kubeconfig(tmp_path, plugin(tmp_path, script)))
    assert says in caught.value.message
    assert "get it at x" in caught.value.hint


def test_a_plugin_that_is_not_installed_is_named(tmp_path):
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}}
    with pytest.raises(Rejected, match=r"no-such-plugin.* not installed"):
        auth.load(kubeconfig=kubeconfig(tmp_path, user))


class Source:
    label = "a test"

    def __init__(self, *logins):
        self.logins = list(logins)

    def read(self):
        login = self.logins.pop(0)
        if isinstance(login, Exception):
            raise login
        return login


async def test_a_source_that_fails_is_tolerated_while_the_old_credentials_are_valid():
    clock = Clock(1000.0)
    old = Login(server="http://x", authorization="Bearer old", expires=1000 + auth.SKEW + 100)
    new = Login(server="http://x", authorization="Bearer new", expires=9000)
    credentials = Credentials(Source(old, Rejected("issuer down"), Rejected("issuer down", hint="call them"), new), clock=clock)
    clock.now = 1101.0
    assert await credentials.authorization() == "Bearer old"
    clock.now = 1000 + auth.SKEW + 100
    with pytest.raises(Retryable, match=r"expired.*issuer down") as caught:
        await credentials.authorization()
    assert caught.value.hint == "call them"
    with pytest.raises(Retryable, match="issuer down"):
        await credentials.authorization()
    assert len(credentials._source.logins) == 1, "the source is left alone for a moment"
    clock.now += auth.CALM
    assert await credentials.authorization() == "Bearer new"


async def test_the_expiry_inside_a_token_is_respected():
    clock = Clock(1000.0)
    first, second = (Login(server="http://x", authorization=f"Bearer {jwt(at)}") for at in (1200, 5000))
    credentials = Credentials(Source(first, second), clock=clock)
    assert await credentials.authorization() == first.authorization
    clock.now = 1200 - auth.SKEW
    assert await credentials.authorization() == second.authorization
    assert credentials.connection_info()["expiration"].timestamp() == 5000


# ---------------------------------------------------------------------------------------------------------- TLS, kopf


def test_what_kopf_is_given_is_what_kopf_takes(tmp_path, certificates):
    import kopf

    user = {"client-certificate": str(certificates / "ann.crt"), "client-key": str(certificates / "ann.key"), "token": "abc"}
    path = kubeconfig(tmp_path, user, cluster={"certificate-authority": str(certificates / "ca.crt")})
    info = kopf.ConnectionInfo(**auth.load(kubeconfig=path).connection_info())
    assert info.as_http_headers() == {"Authorization": "Bearer abc"}
    assert isinstance(info.as_ssl_context(), ssl.SSLContext)
    basic = kopf.ConnectionInfo(**auth.load(kubeconfig=kubeconfig(tmp_path, {"username": "a", "password": "b"})).connection_info())
    assert basic.as_http_headers() == {"Authorization": "Basic YTpi"}


@pytest.fixture
async def tls(certificates):
    """A TLS server that tells the common name of the client's certificate."""

    async def who(request):
        peer = request.transport.get_extra_info("peercert") or {}
        names = dict(pair[0] for pair in peer.get("subject", ()))
        return web.json_response({"gitVersion": names.get("commonName", "nobody")}, headers={"Connection": "close"})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    app = web.Application()
    app.router.add_get("/version", who)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_client_certificates_are_used_and_rotate_without_a_new_session(tmp_path, certificates, tls):
    for kind in ("crt", "key"):
        (tmp_path / f"me.{kind}").write_bytes((certificates / f"ann.{kind}").read_bytes())
    user = {"client-certificate": "me.crt", "client-key": "me.key"}
    path = kubeconfig(tmp_path, user, server=tls, cluster={"certificate-authority": str(certificates / "ca.crt")})
    clock = Clock(time.time())
    client = ApiClient(Credentials(auth.KubeconfigSource(path), clock=clock))
    assert await client.version() == "ann"
    for kind in ("crt", "key"):
        (tmp_path / f"me.{kind}").write_bytes((certificates / f"bob.{kind}").read_bytes())
    clock.now += auth.LOOK
    assert await client.version() == "bob"
    await client.close()


async def test_inline_certificates_and_a_certificate_from_a_plugin_are_used(tmp_path, certificates, tls):
    def data(name):
        return base64.b64encode((certificates / name).read_bytes()).decode()

    trust = {"certificate-authority-data": data("ca.crt")}
    inline = kubeconfig(
        tmp_path, {"client-certificate-data": data("ann.crt"), "client-key-data": data("ann.key")}, server=tls, cluster=trust
    )
    client = ApiClient(auth.load(kubeconfig=inline))
    assert await client.version() == "ann"
    await client.close()
    pair = {"clientCertificateData": (certificates / "bob.crt").read_text(), "clientKeyData": (certificates / "bob.key").read_text()}
    script = (
        f"import json; print(json.dumps({{'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', 'status': {pair!r}}}))"
    )
    client = ApiClient(auth.load(kubeconfig=kubeconfig(tmp_path, plugin(tmp_path, script), server=tls, cluster=trust)))
    assert await client.version() == "bob"
    await client.close()


async def test_an_untrusted_server_is_refused_and_says_which_setting_to_check(tmp_path, tls):
    client = ApiClient(auth.load(kubeconfig=kubeconfig(tmp_path, {}, server=tls)), timeouts=Timeouts(connect=1, total=2))
    with pytest.raises(Retryable) as caught:
        await client.version()
    assert "not trusted" in caught.value.message
    assert "certificate-authority" in caught.value.hint
    await client.close()


@pytest.mark.parametrize("entry", [{"insecure-skip-tls-verify": True}, {"tls-server-name": "api.internal"}])
async def test_tls_settings_of_the_cluster_entry_are_obeyed(tmp_path, certificates, tls, entry):
    if "tls-server-name" in entry:
        entry = {**entry, "certificate-authority": str(certificates / "ca.crt")}
    client = ApiClient(auth.load(kubeconfig=kubeconfig(tmp_path, {}, server=tls, cluster=entry)))
    assert await client.version() == "nobody"
    await client.close()


async def test_a_wrong_tls_server_name_is_refused(tmp_path, certificates, tls):
    cluster = {"tls-server-name": "elsewhere", "certificate-authority": str(certificates / "ca.crt")}
    client = ApiClient(auth.load(kubeconfig=kubeconfig(tmp_path, {}, server=tls, cluster=cluster)))
    with pytest.raises(Retryable, match="not trusted"):
        await client.version()
    await client.close()


def test_a_broken_certificate_is_named(tmp_path):
    (tmp_path / "ca").write_text("not a certificate")
    found = auth.load(kubeconfig=kubeconfig(tmp_path, {}, cluster={"certificate-authority": "ca"}))
    with pytest.raises(Rejected, match=str(tmp_path / "ca")):
        found.ssl_context()


def test_proxies_come_from_the_kubeconfig_or_the_environment_but_never_for_loopback(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://env:1")
    monkeypatch.setenv("NO_PROXY", "excepted.example")
    for name in ("https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    def proxy(server, **cluster):
        return auth.load(kubeconfig=kubeconfig(tmp_path, {}, server=server, cluster=cluster)).proxy

    assert proxy("https://k.example") == "http://env:1"
    assert proxy("https://k.example", **{"proxy-url": "http://file:2"}) == "http://file:2"
    assert proxy("https://excepted.example") == ""
    assert proxy("https://127.0.0.1:6443") == ""
    with pytest.raises(Rejected, match="socks5"):
        proxy("https://k.example", **{"proxy-url": "socks5://file:2"})


# ----------------------------------------------------------------------------------------------------------- OIDC


def test_an_expired_oidc_token_is_refreshed_at_its_issuer_and_kept_for_kubectl(tmp_path):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    fresh, stale = jwt(time.time() + 3600), jwt(time.time() - 10)

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply({"token_endpoint": f"http://127.0.0.1:{self.server.server_port}/token"})

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply({"id_token": fresh, "refresh_token": "r2", "access_token": "a", "token_type": "Bearer"})

        def reply(self, body):
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "id-token": stale,
        "refresh-token": "r1",
        "client-id": "i",
        "client-secret": "s",
        "idp-issuer-url": f"http://127.0.0.1:{server.server_port}",
    }
    path = kubeconfig(tmp_path, {"auth-provider": {"name": "oidc", "config": config}})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
            found = auth.load(kubeconfig=path)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert asyncio.run(found.authorization()) == f"Bearer {fresh}"
    assert "r2" in (tmp_path / "config").read_text()


def test_importing_the_client_does_not_import_the_official_package():
    code = "import sys, canary.kube.cache, canary.kube.recorder, canary.kube.lease, canary.kube.ensure; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
