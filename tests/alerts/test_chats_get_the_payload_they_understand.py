"""Each chat's JSON on the wire, the routing of severities, and what happens when a chat refuses."""

import base64
import json
from types import SimpleNamespace

import pytest
from aiohttp import web

from canary.alerts.base import Alert, Channel
from canary.alerts.discord import DiscordSender
from canary.alerts.dispatch import Alerter
from canary.alerts.gchat import GoogleChatSender
from canary.alerts.msteams import TeamsSender
from canary.alerts.rocket import RocketSender
from canary.alerts.slack import SlackSender
from canary.api.canary import Canary
from canary.core.errors import Rejected, Retryable
from canary.core.telling import Severity
from canary.engine.settings import GlobalChat

FIELDS = (("Target", "Deployment/podinfo.test"), ("Traffic routing", "Weight step: 10 max: 50"))


@pytest.fixture
async def chat():
    seen, script = [], [(200, "ok")]

    async def handle(request):
        seen.append((request.path, dict(request.headers), json.loads(await request.text())))
        status, text = script.pop(0) if len(script) > 1 else script[0]
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}", seen=seen, script=script)
    await runner.cleanup()


def alert(severity=Severity.ERROR):
    return Alert("podinfo", "test", "rolled <back>", severity, FIELDS)


async def send(sender, chat, severity=Severity.ERROR, path="/hook", **channel):
    await sender.send(Channel("x", chat.url + path, **channel), alert(severity), timeout=2)
    return chat.seen[-1]


@pytest.mark.parametrize(("severity", "colour"), [(Severity.INFO, "good"), (Severity.WARN, "good"), (Severity.ERROR, "danger")])
async def test_slack(chat, severity, colour):
    path, headers, body = await send(SlackSender(), chat, severity, channel="ops", username="canary", token="t")
    assert (path, headers["Authorization"]) == ("/hook", "Bearer t")
    assert body == {
        "channel": "ops",
        "username": "canary",
        "icon_url": "",
        "icon_emoji": ":rocket:",
        "attachments": [
            {
                "color": colour,
                "author_name": "podinfo.test",
                "text": "rolled <back>",
                "mrkdwn_in": ["text"],
                "fields": [{"title": title, "value": value, "short": False} for title, value in FIELDS],
            }
        ],
    }


async def test_slack_says_ok_false_with_a_200(chat):
    chat.script[:] = [(200, '{"ok": false, "error": "channel_not_found"}')]
    with pytest.raises(Rejected, match="channel_not_found"):
        await send(SlackSender(), chat)


@pytest.mark.parametrize(("path", "expected"), [("/api/1", "/api/1/slack"), ("/api/1/", "/api/1/slack"), ("/api/1/slack", "/api/1/slack")])
async def test_discord_uses_the_slack_address(chat, path, expected):
    assert (await send(DiscordSender(), chat, path=path))[0] == expected


async def test_rocket_colours(chat):
    assert (await send(RocketSender(), chat))[2]["attachments"][0]["color"] == "#FF0000"
    assert (await send(RocketSender(), chat, Severity.INFO))[2]["attachments"][0]["color"] == "#0076D7"


async def test_teams_card(chat):
    body = (await send(TeamsSender(), chat))[2]
    assert (body["@type"], body["themeColor"]) == ("MessageCard", "FF0000")
    assert body["sections"][0]["facts"] == [{"name": name, "value": value} for name, value in FIELDS]


async def test_google_chat_escapes(chat):
    widgets = (await send(GoogleChatSender(), chat))[2]["cards"][0]["sections"][0]["widgets"]
    assert "rolled &lt;back&gt;" in widgets[0]["textParagraph"]["text"]


@pytest.mark.parametrize(("status", "kind"), [(500, Retryable), (429, Retryable), (404, Rejected), (302, Rejected)])
async def test_a_refusal_says_what_came_back(chat, status, kind):
    chat.script[:] = [(status, "no such hook")]
    with pytest.raises(kind, match=f"answered {status}"):
        await send(TeamsSender(), chat)


# ------------------------------------------------------------------------------------------------ who hears of what


class Cluster:
    def __init__(self, chat, secret=None):
        self.chat, self.secret = chat, secret

    def get(self, resource, namespace, name):
        if name == "missing":
            return None
        spec = {"type": "slack", "channel": name}
        spec |= {"secretRef": {"name": "s"}} if self.secret is not None else {"address": f"{self.chat.url}/{namespace}"}
        return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}

    async def read(self, resource, namespace, name):
        return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in self.secret.items()}}


def canary(*alerts):
    return Canary.model_validate(
        {
            "metadata": {"name": "podinfo", "namespace": "test"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
                "service": {"port": 80},
                "analysis": {"interval": "10s", "threshold": 2, "stepWeight": 10, "maxWeight": 50, "alerts": list(alerts)},
            },
        }
    )


def entry(name, severity=None, **ref):
    body = {"name": name, "providerRef": {"name": name, **ref}}
    return body | ({"severity": severity} if severity is not None else {})


@pytest.mark.parametrize(
    ("severity", "heard"),
    [
        (Severity.INFO, {"everything", "empty"}),
        (Severity.WARN, {"everything", "empty", "warnings"}),
        (Severity.ERROR, {"everything", "empty", "warnings", "errors"}),
    ],
)
async def test_each_severity_reaches_those_who_want_it(chat, severity, heard):
    alerter = Alerter(Cluster(chat), chat=GlobalChat(), pause=0)
    object_ = canary(entry("everything", "info"), entry("empty"), entry("warnings", "warn"), entry("errors", "error"))
    await alerter.send(object_, alert(severity))
    assert {body["channel"] for _, _, body in chat.seen} == heard


async def test_own_alerts_replace_the_global_chat(chat):
    settings = GlobalChat(type="slack", url=chat.url + "/global", channel="all")
    alerter = Alerter(Cluster(chat), chat=settings, pause=0)
    await alerter.send(canary(), alert())
    await alerter.send(canary(entry("own", "error")), alert())
    assert [path for path, *_ in chat.seen] == ["/global", "/test"]


async def test_the_address_comes_from_the_secret_and_the_namespace_from_the_reference(chat):
    alerter = Alerter(Cluster(chat, {"address": chat.url + "/secret", "token": "t"}), chat=GlobalChat(), pause=0)
    await alerter.send(canary(entry("a", "info", namespace="other")), alert())
    path, headers, _ = chat.seen[0]
    assert (path, headers["Authorization"]) == ("/secret", "Bearer t")


async def test_one_bad_provider_does_not_silence_the_next(chat):
    alerter = Alerter(Cluster(chat), chat=GlobalChat(), pause=0)
    with pytest.raises(Rejected, match="missing.test"):
        await alerter.send(canary(entry("missing", "info"), entry("good", "info")), alert())
    assert [body["channel"] for _, _, body in chat.seen] == ["good"]


async def test_a_chat_that_is_restarting_is_tried_again(chat):
    chat.script[:] = [(503, "starting"), (503, "starting"), (200, "ok")]
    await Alerter(Cluster(chat), chat=GlobalChat(), pause=0).send(canary(entry("a", "info")), alert())
    assert len(chat.seen) == 3


def test_the_facts_name_target_limits_and_strategy(chat):
    alerter = Alerter(Cluster(chat), chat=GlobalChat(), cluster_name="eu-1")
    assert dict(alerter.fields(canary(), full=True)) == {
        "Cluster": "eu-1",
        "Target": "Deployment/podinfo.test",
        "Failed checks threshold": "2",
        "Progress deadline": "600s",
        "Traffic routing": "Weight step: 10 max: 50",
    }
    assert alerter.fields(canary(), full=False) == (("Cluster", "eu-1"),)


def analysed(*checks):
    """A canary whose last checks were these."""
    return Canary.model_validate(
        {
            "metadata": {"name": "podinfo", "namespace": "test"},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"}, "analysis": {"interval": "1m"}},
            "status": {"phase": "Progressing", "checks": list(checks)},
        }
    )


BAD_RATE = {
    "name": "request-success-rate",
    "verdict": "Fail",
    "value": 92.5,
    "bound": {"min": 99},
    "query": "sum(rate(x[1m]))",
    "window": "1m",
    "samples": 12,
    "weight": 30,
}


def test_an_alert_about_checks_says_which_what_and_how_it_was_asked():
    fields = Alerter(None, chat=GlobalChat(), cluster_name="c1").fields(analysed(BAD_RATE), full=False, checks=True)
    assert fields == (
        ("Cluster", "c1"),
        ("Check", "request-success-rate: Fail at canary weight 30"),
        ("Value", "92.5 (12 samples in 1m)"),
        ("Bound", "at least 99"),
        ("Query", "sum(rate(x[1m]))"),
    )


@pytest.mark.parametrize(
    ("check", "value", "bound"),
    [
        ({"verdict": "NoData", "bound": {"max": 5}}, "no data", "at most 5"),
        (
            {"verdict": "Error", "error": "connection refused", "bound": {"min": 1, "max": 5}},
            "connection refused",
            "at least 1 and at most 5",
        ),
        ({"verdict": "Fail", "bound": {"max": 5}}, "not finite", "at most 5"),
        ({"verdict": "Error", "error": "nothing to ask", "bound": {}}, "nothing to ask", None),
    ],
)
def test_ignorance_is_told_apart_from_failure_in_an_alert(check, value, bound):
    fields = dict(Alerter(None, chat=GlobalChat()).fields(analysed({"name": "x", **check}), full=False, checks=True))
    assert (fields["Value"], fields.get("Bound")) == (value, bound)


def test_checks_that_passed_or_decide_nothing_are_left_out_of_an_alert():
    quiet = [{"name": "a", "verdict": "Pass", "value": 1}, {"name": "b", "verdict": "Fail", "value": 1, "dryRun": True}]
    alerter = Alerter(None, chat=GlobalChat())
    assert alerter.fields(analysed(*quiet), full=False, checks=True) == ()
    assert alerter.fields(analysed(BAD_RATE), full=False) == ()


def test_an_alert_stays_short_however_many_checks_fail():
    many = [{**BAD_RATE, "name": f"c{number}", "query": "q" * 1000} for number in range(50)]
    fields = Alerter(None, chat=GlobalChat()).fields(analysed(*many), full=False, checks=True)
    assert [value for title, value in fields if title == "Check"] == [f"c{number}: Fail at canary weight 30" for number in range(3)]
    assert sum(len(value) for _, value in fields) < 2000
