"""Access to Google Cloud: signed assertions, the operator's own identity, and what is kept."""

import base64
import json
import shutil
import subprocess
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from canary.core.errors import Rejected
from canary.metrics import rs256
from canary.metrics.base import Refused, Source
from canary.metrics.stackdriver import StackdriverProvider
from tests.metrics.cases import google_key, stackdriver
from tests.metrics.support import RFC_D, RFC_N, number, pem

RFC_INPUT = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdi"
    "uB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9"
    "QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("pkcs8", [True, False])
def test_the_signature_of_the_rfc(pkcs8):
    key = rs256.load(pem(pkcs8=pkcs8))
    assert (key.n, key.d, key.e) == (number(RFC_N), number(RFC_D), 65537)
    assert encoded(rs256.sign(key, RFC_INPUT)) == RFC_SIGNATURE


def test_openssl_accepts_what_we_sign(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    private, public, message, signature = (tmp_path / name for name in ("key", "pub", "message", "signature"))
    for arguments in (["genpkey", "-algorithm", "RSA", "-out", private], ["pkey", "-in", private, "-pubout", "-out", public]):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    message.write_bytes(b"hello")
    signature.write_bytes(rs256.sign(rs256.load(private.read_text()), b"hello"))
    check = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message]
    assert b"Verified OK" in subprocess.run(check, check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no key",
        "-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nMAwCAQACAQ8CAQMCAQM=\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_is_an_error_that_shows_nothing_of_it(text):
    with pytest.raises(ValueError, match="private key") as caught:
        rs256.load(text)
    assert "MIIB" not in str(caught.value)


def test_a_key_whose_numbers_do_not_belong_together_signs_nothing():
    key = rs256.load(pem())
    with pytest.raises(ValueError, match="do not belong together"):
        rs256.sign(rs256.PrivateKey(key.n, key.e, key.d - 2), b"x")


# -------------------------------------------------------------------------------------------------- tokens


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def google(server):
    """A provider whose API and token endpoint are the server; `google.tokens` are the requests for tokens."""
    server.body = stackdriver("a")
    clock, made, tokens = Clock(), [], []

    def token(seen):
        tokens.append(seen)
        return web.json_response({"access_token": f"token-{len(tokens)}", "expires_in": 3600})

    server.routes["/token"] = token
    server.routes["/computeMetadata/v1/instance/service-accounts/default/token"] = token
    server.routes["/computeMetadata/v1/project/project-id"] = lambda _: web.Response(text="metadata-project")

    class Google:
        provider = None

        async def ask(self, environ=None, **secret):
            if self.provider is None:
                environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": server.url, **(environ or {})}
                self.provider = StackdriverProvider(clock=clock, environ=environ)
                made.append(self.provider)
            source = Source(type="stackdriver", secret={key: value.encode() for key, value in secret.items()})
            return await self.provider.query(source, "fetch x", window_seconds=60, timeout=3)

    one = Google()
    one.clock, one.tokens = clock, tokens
    yield one
    for provider in made:
        await provider.close()


async def test_a_service_account_key_is_exchanged_for_a_token(server, google):
    await google.ask(project="p-1", serviceAccountKey=google_key(f"{server.url}/token"))
    form = parse_qs(google.tokens[0].body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert claims["iss"] == "c@p.iam.gserviceaccount.com"
    assert claims["aud"] == f"{server.url}/token"
    assert claims["scope"] == "https://www.googleapis.com/auth/monitoring.read"
    assert (claims["iat"], claims["exp"]) == (1_700_000_000, 1_700_003_600)
    signed = int.from_bytes(base64.urlsafe_b64decode(signature + "=="), "big")
    assert hex(pow(signed, 65537, number(RFC_N))).startswith("0x1fffffff")  # the padding of RFC 8017: it was made with this key
    assert server.last.headers["authorization"] == "Bearer token-1"
    assert server.last.path == "/v3/projects/p-1/timeSeries:query"


async def test_a_token_is_kept_until_shortly_before_its_end_and_a_new_key_gets_its_own(server, google):
    key = google_key(f"{server.url}/token")
    for _ in range(3):
        await google.ask(project="p-1", serviceAccountKey=key)
    assert len(google.tokens) == 1
    google.clock.now += 3400
    await google.ask(project="p-1", serviceAccountKey=key)
    assert len(google.tokens) == 2
    await google.ask(project="p-1", serviceAccountKey=key + " ")  # white space around a Secret's value does not count
    assert len(google.tokens) == 2
    await google.ask(project="p-1", serviceAccountKey=key.replace("k1", "k2"))
    assert len(google.tokens) == 3


async def test_the_metadata_service_gives_token_and_project(server, google):
    await google.ask({"GCE_METADATA_HOST": server.url.removeprefix("http://")})
    assert google.tokens[0].headers["metadata-flavor"] == "Google"
    assert server.last.path == "/v3/projects/metadata-project/timeSeries:query"
    assert server.last.headers["authorization"] == "Bearer token-1"


async def test_a_users_refresh_token_works_too(server, google, tmp_path):
    key = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r", "token_uri": f"{server.url}/token"}
    (tmp_path / "adc.json").write_text(json.dumps(key))
    await google.ask({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "adc.json"), "GOOGLE_CLOUD_PROJECT": "env-project"})
    assert parse_qs(google.tokens[0].body.decode())["refresh_token"] == ["r"]
    assert server.last.path == "/v3/projects/env-project/timeSeries:query"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("{", "serviceAccountKey is no JSON object"),
        ('{"type": "external_account"}', "'external_account' are not supported"),
        ('{"type": "service_account", "private_key": "x"}', "cannot sign: there is no unencrypted PEM"),
        ('{"type": "authorized_user", "token_uri": "file:///etc/passwd"}', "no URL"),
    ],
)
async def test_a_key_that_cannot_be_used_says_why(google, key, says):
    with pytest.raises(Rejected) as caught:
        await google.ask(project="p", serviceAccountKey=key)
    assert says in caught.value.message


async def test_a_refused_assertion_says_what_google_says(server, google):
    error = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    server.routes["/token"] = lambda _: web.json_response(error, status=400)
    with pytest.raises(Refused, match="answered 400: invalid_grant"):
        await google.ask(project="p", serviceAccountKey=google_key(f"{server.url}/token"))


async def test_a_project_is_no_path(server, google):
    with pytest.raises(Rejected, match="no project id"):
        await google.ask(project="a/../b", serviceAccountKey=google_key(f"{server.url}/token"))
    assert server.seen == []
