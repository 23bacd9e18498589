"""Signature Version 4 against AWS's published vectors, and where its credentials come from."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from canary.core.errors import Rejected
from canary.metrics.base import Refused, Source
from canary.metrics.cloudwatch import CloudwatchProvider
from canary.metrics.sigv4 import Keys, signed_headers, signing_key
from tests.metrics.cases import BY_KIND, cloudwatch

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC).timestamp()
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd"
    "QrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz"
    "+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("name", "method", "path", "headers", "body", "token", "signature"),
    [
        ("get-vanilla", "GET", "/", {}, b"", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("post-vanilla", "POST", "/", {}, b"", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/?Param2=value2&Param1=value1",
            {},
            b"",
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "post-header-value-case",
            "POST",
            "/",
            {"My-Header1": "VALUE1"},
            b"",
            "",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "get-header-value-trim",
            "GET",
            "/",
            {"My-Header1": " value1", "My-Header2": ' "a   b   c"'},
            b"",
            "",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "post-x-www-form-urlencoded",
            "POST",
            "/",
            {"Content-Type": FORM},
            b"Param1=value1",
            "",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        ("post-sts-header-before", "POST", "/", {}, b"", TOKEN, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ],
)
def test_the_vectors_that_aws_publishes(name, method, path, headers, body, token, signature):
    signed = signed_headers(
        Keys("AKIDEXAMPLE", SECRET, token),
        method=method,
        url=f"https://example.amazonaws.com{path}",
        headers=headers,
        body=body,
        region="us-east-1",
        service="service",
        now=NOW,
    )
    assert signed["authorization"].rpartition("Signature=")[2] == signature


def test_the_example_of_the_iam_manual():
    url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08"
    headers = {"Content-Type": f"{FORM}; charset=utf-8"}
    signed = signed_headers(
        Keys("AKIDEXAMPLE", SECRET), method="GET", url=url, headers=headers, body=b"", region="us-east-1", service="iam", now=NOW
    )
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )
    assert signing_key(SECRET, "20150830", "us-east-1", "iam").hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


def test_keys_show_no_secret():
    assert SECRET not in repr(Keys("AKIDEXAMPLE", SECRET, "session"))


# --------------------------------------------------------------------------------------------- credentials


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
async def asked(server):
    """`asked(environ, secret=…)`: the sample of one query in that environment; `asked.clock` moves time."""
    made = []
    server.body = cloudwatch("e1", value=5)
    clock = Clock()

    async def run(environ, *, secret=None, provider=None):
        one = provider or CloudwatchProvider(clock=clock, environ={"AWS_ENDPOINT_URL": server.url, **environ})
        made.append(one)
        secret = {key: value.encode() for key, value in (secret or {}).items()}
        source = Source(type="cloudwatch", region="eu-west-1", secret=secret)
        run.provider = one
        return await one.query(source, BY_KIND["cloudwatch"].query, window_seconds=60, timeout=3)

    run.clock = clock
    yield run
    for one in made:
        await one.close()


def key_id(seen):
    return seen.headers["authorization"].partition("Credential=")[2].partition("/")[0]


async def test_from_the_environment(server, asked):
    await asked({"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "session"})
    assert key_id(server.last) == "AKENV"
    assert server.last.headers["x-amz-security-token"] == "session"


async def test_what_arrives_is_what_was_signed(server, asked):
    await asked({"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET})
    seen = server.last
    signed = signed_headers(
        Keys("AKIDEXAMPLE", SECRET),
        method=seen.method,
        url=f"http://{seen.headers['host']}{seen.raw}",
        headers={name: seen.headers[name] for name in ("content-type", "x-amz-target")},
        body=seen.body,
        region="eu-west-1",
        service="monitoring",
        now=NOW,
    )
    assert seen.headers["authorization"] == signed["authorization"]
    assert seen.headers["x-amz-date"] == "20150830T123600Z"


async def test_a_secret_comes_first_and_a_secret_without_keys_does_not_count(server, asked):
    environ = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}
    await asked(environ, secret={"aws_access_key_id": "AKSECRET", "aws_secret_access_key": "s"})
    assert key_id(server.last) == "AKSECRET"
    await asked(environ, secret={"unrelated": "x"})
    assert key_id(server.last) == "AKENV"


STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>a&amp;b</SecretAccessKey><SessionToken>web-session</SessionToken>
<Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@pytest.fixture
def web_identity(server, tmp_path):
    (tmp_path / "token").write_text("jwt-of-the-pod\n")
    calls = []

    def sts(seen):
        calls.append({name: values[0] for name, values in parse_qs(seen.body.decode()).items()})
        return web.Response(text=STS.format(expires="2015-08-30T13:36:00Z"), content_type="text/xml")

    server.routes["/sts/"] = sts
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/canary",
        "AWS_ENDPOINT_URL_STS": f"{server.url}/sts",
        "AWS_ENDPOINT_URL_CLOUDWATCH": server.url,
    }
    return environ, calls


async def test_from_the_service_account_by_web_identity(server, asked, web_identity):
    environ, calls = web_identity
    assert (await asked(environ)).value == 5
    assert calls[0]["Action"] == "AssumeRoleWithWebIdentity"
    assert (calls[0]["RoleArn"], calls[0]["WebIdentityToken"]) == ("arn:aws:iam::1:role/canary", "jwt-of-the-pod")
    assert key_id(server.last) == "ASIAWEB"
    assert server.last.headers["x-amz-security-token"] == "web-session"


async def test_temporary_credentials_are_kept_until_shortly_before_they_end(asked, web_identity):
    environ, calls = web_identity
    await asked(environ)
    asked.clock.now += 3200
    await asked(environ, provider=asked.provider)
    assert len(calls) == 1
    asked.clock.now += 150
    await asked(environ, provider=asked.provider)
    assert len(calls) == 2


async def test_a_role_that_is_not_given_says_which_and_why(server, asked, web_identity):
    environ, _ = web_identity
    server.routes["/sts/"] = lambda _: web.Response(
        status=403,
        text="<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized to perform it</Message></Error></ErrorResponse>",
    )
    with pytest.raises(Refused, match="role/canary: Not authorized to perform it"):
        await asked(environ)


async def test_from_a_containers_endpoint(server, asked, tmp_path):
    (tmp_path / "token").write_text("pod-identity")
    seen = []

    def endpoint(request):
        seen.append(request.headers["authorization"])
        keys = {"AccessKeyId": "ASIACON", "SecretAccessKey": "s", "Token": "t", "Expiration": "2015-08-30T18:36:00Z"}
        return web.json_response(keys)

    server.routes["/v1/credentials"] = endpoint
    await asked(
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
    )
    assert (seen, key_id(server.last)) == (["pod-identity"], "ASIACON")


async def test_a_containers_endpoint_must_be_near(asked):
    with pytest.raises(Rejected, match="must be https or a link-local address"):
        await asked({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/credentials"})


async def test_from_the_instance(server, asked):
    server.routes["/latest/api/token"] = lambda seen: web.Response(text="imds-token" if seen.method == "PUT" else "?")
    path = "/latest/meta-data/iam/security-credentials/"
    server.routes[path] = lambda _: web.Response(text="node-role\n")

    def role(seen):
        assert seen.headers["x-aws-ec2-metadata-token"] == "imds-token"
        keys = {"Code": "Success", "AccessKeyId": "ASIANODE", "SecretAccessKey": "s", "Token": "t", "Expiration": "2015-08-30T18:36:00Z"}
        return web.json_response(keys)

    server.routes[f"{path}node-role"] = role
    await asked({"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url})
    assert key_id(server.last) == "ASIANODE"


@pytest.mark.parametrize("environ", [{"AWS_EC2_METADATA_DISABLED": "true"}, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}])
async def test_without_any_credentials_it_says_how_to_give_some(server, asked, environ):
    with pytest.raises(Rejected, match="there are no AWS credentials") as caught:
        await asked(environ)
    assert "IRSA" in caught.value.hint
    assert server.seen == []


async def test_an_unreadable_token_names_the_file(asked):
    with pytest.raises(Rejected, match="cannot be read: No such file or directory: /nowhere"):
        await asked({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "r", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"})


async def test_credentials_that_expired_elsewhere_are_looked_up_again(server, asked, web_identity):
    environ, calls = web_identity
    server.status, server.body = 400, {"__type": "com.amazonaws#ExpiredTokenException", "message": "The security token is expired"}
    with pytest.raises(Refused, match="ExpiredTokenException"):
        await asked(environ)
    server.status, server.body = 200, json.loads(json.dumps(cloudwatch("e1", value=5)))
    assert (await asked(environ, provider=asked.provider)).value == 5
    assert len(calls) == 2
