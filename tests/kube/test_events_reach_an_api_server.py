"""The recorder and the API's own rules together: what kubectl would show."""

from canary.kube.recorder import EventRecorder
from canary.kube.resource import CONFIG_MAPS, EVENTS
from canary.sandbox.faults import Drop
from tests.kube.conftest import eventually


async def test_events_are_accepted_counted_and_cost_one_request_each(sandbox, client_for):
    client = client_for(sandbox.url)
    target = await client.create(CONFIG_MAPS, CONFIG_MAPS.head("shop", "podinfo"))
    recorder = EventRecorder(client)
    for number in range(10):
        recorder.record(target, message=f"Advance podinfo.shop canary weight {number}", kind="WeightAdvanced")
    recorder.record(target, message="Halt podinfo.shop advancement", kind="CheckFailed", warning=True)
    await recorder.close()
    recorder = EventRecorder(client)
    events = await client.list(EVENTS, "shop")
    assert [event["message"] for event in sorted(events, key=lambda event: int(event["metadata"]["resourceVersion"]))] == [
        *(f"Advance podinfo.shop canary weight {number}" for number in range(10)),
        "Halt podinfo.shop advancement",
    ]
    assert {(event["reason"], event["source"]["component"]) for event in events} == {("Synced", "flagger")}
    assert {event["involvedObject"]["uid"] for event in events} == {target["metadata"]["uid"]}
    assert client.requests.total(resource="events") == 12  # and the list


async def test_an_event_whose_answer_is_lost_is_there_once(sandbox, client_for):
    client = client_for(sandbox.url)
    lost = 0

    async def lose(call):
        nonlocal lost
        if call.resource == "events" and lost < 2:
            lost += 1
            return Drop(after_effect=lost == 2)

    sandbox.hook = lose
    recorder = EventRecorder(client)
    body = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": "podinfo", "namespace": "shop", "uid": "u"}}
    recorder.record(body, message="once", kind="A")
    await eventually(lambda: not recorder._drains)
    recorder.record(body, message="once", kind="A")
    await recorder.close()
    (event,) = await client.list(EVENTS, "shop")
    assert (event["message"], event["count"], event["action"]) == ("once", 2, "A")
