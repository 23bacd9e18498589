"""The store under any interleaving of the watch, our own writes' answers, and lists: nothing older overwrites anything newer."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from canary.kube.resource import DEPLOYMENTS, SECRETS
from canary.kube.store import LAST_APPLIED, Store


def body(name, version, *, uid="u1", **extra):
    meta = {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": str(version), "managedFields": [{"manager": "x"}]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, **extra}


class Listener:
    """What a subscriber believes, from events alone."""

    def __init__(self):
        self.events = []
        self.state = {}

    def __call__(self, resource, kind, obj, old):
        key = obj["metadata"]["name"]
        self.events.append((kind, key, int(obj["metadata"]["resourceVersion"])))
        assert (old is None) == (key not in self.state), (kind, key)
        if old is not None:
            assert old["metadata"]["resourceVersion"] == self.state[key]["metadata"]["resourceVersion"]
        assert (kind == "ADDED") == (old is None)
        if kind == "DELETED":
            del self.state[key]
        else:
            self.state[key] = obj


def relist(store, objects, version):
    drain(store.replacing([store.prepare(one) for one in objects], version))


def drain(steps):
    for _ in steps:
        pass


def fresh(objects=(), version="10"):
    listener = Listener()
    store = Store(DEPLOYMENTS, tell=listener)
    relist(store, objects, version)
    return store, listener


def version(store, name="a"):
    found = store.get("shop", name)
    return found and int(found["metadata"]["resourceVersion"])


def test_an_older_event_does_not_overwrite_our_own_write():
    store, heard = fresh([body("a", 5)])
    store.put(body("a", 20))
    store.event("MODIFIED", body("a", 15))
    assert version(store) == 20
    store.event("MODIFIED", body("a", 20))
    store.event("MODIFIED", body("a", 21))
    assert heard.events == [("ADDED", "a", 5), ("MODIFIED", "a", 20), ("MODIFIED", "a", 21)]


def test_our_own_creation_is_readable_at_once_and_told_when_the_watch_brings_it():
    store, heard = fresh()
    store.put(body("a", 11))
    assert version(store) == 11
    assert heard.events == []
    store.event("ADDED", body("a", 11))
    assert heard.events == [("ADDED", "a", 11)]


def test_an_answer_that_the_watch_has_passed_does_not_raise_the_dead():
    store, _ = fresh([body("a", 5)])
    store.event("MODIFIED", body("a", 11))
    store.event("DELETED", body("a", 12))
    store.put(body("a", 11))  # our write was 11, and somebody deleted the object before its answer was read
    assert version(store) is None


def test_our_own_deletion_is_gone_at_once_and_late_news_of_it_stay_out():
    store, heard = fresh([body("a", 5)])
    store.removed("shop", "a", "u1")
    assert version(store) is None
    store.event("MODIFIED", body("a", 11))
    store.put(body("a", 13))  # the answer of a write from before the deletion
    assert version(store) is None
    store.event("DELETED", body("a", 14))
    assert heard.events == [("ADDED", "a", 5), ("DELETED", "a", 14)]


def test_the_successor_of_what_we_deleted_is_let_in():
    store, heard = fresh([body("a", 5)])
    store.removed("shop", "a", "u1")
    store.put(body("a", 13, uid="u2"))
    store.event("DELETED", body("a", 12))
    assert version(store) == 13
    store.event("ADDED", body("a", 13, uid="u2"))
    assert heard.events == [("ADDED", "a", 5), ("DELETED", "a", 12), ("ADDED", "a", 13)]


def test_a_deletion_with_another_uid_leaves_the_object_alone():
    store, _ = fresh([body("a", 5, uid="u2")])
    store.removed("shop", "a", "u1")
    assert version(store) == 5


def test_a_new_list_deletes_what_is_missing_and_says_so_only_for_changes():
    store, heard = fresh([body("a", 5), body("b", 6), body("c", 7)])
    heard.events.clear()
    relist(store, [body("a", 5), body("c", 21)], "30")
    assert version(store, "b") is None
    assert heard.events == [("MODIFIED", "c", 21), ("DELETED", "b", 6)]
    assert list(store.list("shop")) == [store.get("shop", "a"), store.get("shop", "c")]


def test_a_list_taken_before_our_write_does_not_undo_it():
    store, _ = fresh([body("a", 5)])
    store.put(body("a", 31))
    store.put(body("new", 32))
    relist(store, [body("a", 5)], "30")
    assert (version(store), version(store, "new")) == (31, 32)
    relist(store, [], "40")
    assert (version(store), version(store, "new")) == (None, None)


def test_a_list_taken_before_our_deletion_does_not_undo_it():
    store, heard = fresh([body("a", 5)])
    store.removed("shop", "a", "u1")
    relist(store, [body("a", 5)], "30")
    assert version(store) is None
    relist(store, [], "40")
    assert heard.events[-1][:2] == ("DELETED", "a")


def test_a_cluster_restored_from_a_backup_is_believed_although_versions_go_back():
    store, _ = fresh([body("a", 900), body("b", 901)], "1000")
    relist(store, [body("a", 50)], "100")
    assert (version(store), version(store, "b")) == (50, None)


def test_managed_fields_are_not_kept_and_the_caller_keeps_its_object():
    store, _ = fresh()
    mine = body("a", 11)
    before = copy.deepcopy(mine)
    store.put(mine)
    assert mine == before
    assert "managedFields" not in store.get("shop", "a")["metadata"]


def test_metadata_only_keeps_no_content_not_even_in_annotations():
    store = Store(SECRETS, metadata_only=True)
    secret = body("a", 5, data={"password": "aHVudGVy"})
    secret["metadata"]["annotations"] = {LAST_APPLIED: '{"data":{"password":"aHVudGVy"}}', "keep": "me"}
    relist(store, [secret], "10")
    store.put({**secret, "metadata": {**secret["metadata"], "resourceVersion": "11"}})
    kept = store.get("shop", "a")
    assert "aHVudGVy" not in str(kept)
    assert kept["metadata"]["annotations"] == {"keep": "me"}
    assert (kept["kind"], kept["apiVersion"], kept["metadata"]["resourceVersion"]) == ("Secret", "v1", "11")


def test_a_list_by_namespace_is_only_that_namespace_and_survives_writes_meanwhile():
    store = Store(DEPLOYMENTS)
    relist(store, [body("a", 5), body("b", 6)], "10")
    other = body("a", 7)
    other["metadata"]["namespace"] = "other"
    store.event("ADDED", other)
    seen = []
    for found in store.list("shop"):
        seen.append(found["metadata"]["name"])
        store.event("DELETED", body("b", 8))
    assert seen == ["a"], "what is gone when its turn comes is left out"
    assert len(list(store.list())) == 2
    assert list(store.list("nowhere")) == []


class Server:
    """The truth, its history, and the answers that are still on their way to us."""

    def __init__(self):
        self.objects = {}
        self.history = []
        self.answers = []
        self.version = 10
        self.uid = 0

    def write(self, name):
        self.version += 1
        if name in self.objects:
            kind, uid = "MODIFIED", self.objects[name]["metadata"]["uid"]
        else:
            self.uid += 1
            kind, uid = "ADDED", f"u{self.uid}"
        self.objects[name] = body(name, self.version, uid=uid)
        self.history.append((kind, self.objects[name]))
        return self.objects[name]

    def delete(self, name):
        old = self.objects.pop(name)
        self.version += 1
        self.history.append(("DELETED", body(name, self.version, uid=old["metadata"]["uid"])))
        return old["metadata"]["uid"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["theirs", "ours", "their delete", "our delete", "answer", "event", "relist", "stale list"]),
        st.sampled_from("ab"),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=600, deadline=None)
def test_any_interleaving_ends_in_the_truth_and_never_goes_back(steps):
    server, listener = Server(), Listener()
    store = Store(DEPLOYMENTS, tell=listener)
    relist(store, [], "10")
    at = 0
    newest = {}
    running = None
    for step, name, number in steps:
        match step:
            case "theirs":
                server.write(name)
            case "ours":
                server.answers.append(("put", server.write(name)))
            case "their delete" if name in server.objects:
                server.delete(name)
            case "our delete" if name in server.objects:
                server.answers.append(("removed", name, server.delete(name)))
            case "answer" if server.answers:
                one = server.answers.pop(number % len(server.answers))
                store.put(one[1]) if one[0] == "put" else store.removed("shop", one[1], one[2])
                if one[0] == "put":
                    written = one[1]["metadata"]
                    newest[written["name"]] = max(newest.get(written["name"], 0), int(written["resourceVersion"]))
            case "event" if at < len(server.history) and running is None:
                store.event(*server.history[at])
                at += 1
            case "relist" | "stale list" if running is None:
                # a list is as of some moment between what the watch has shown and now
                at = len(server.history) if step == "relist" else min(len(server.history), at + number)
                running = store.replacing([store.prepare(one) for one in _as_of(server, at)], str(_version_at(server, at)))
                if step == "relist" or number % 2:
                    running = drain(running)
            case _ if running is not None and next(running, "end") == "end":  # taken in while writes go on
                running = None
        for key, seen in newest.items():
            found = version(store, key)
            assert found is None or found >= seen or _deleted_since(server, key, seen)
    drain(running or ())
    for one in server.answers:
        store.put(one[1]) if one[0] == "put" else store.removed("shop", one[1], one[2])
    for event in server.history[at:]:
        store.event(*event)
    truth = {name: obj["metadata"]["resourceVersion"] for name, obj in server.objects.items()}
    assert {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in store.list()} == truth
    assert {name: obj["metadata"]["resourceVersion"] for name, obj in listener.state.items()} == truth
    assert not store._heard
    assert not store._dead
    told = {}
    for _, key, seen in listener.events:
        assert seen >= told.get(key, 0)
        told[key] = seen


def _as_of(server, at):
    objects = {}
    for kind, obj in server.history[:at]:
        if kind == "DELETED":
            objects.pop(obj["metadata"]["name"])
        else:
            objects[obj["metadata"]["name"]] = obj
    return list(objects.values())


def _version_at(server, at):
    return int(server.history[at - 1][1]["metadata"]["resourceVersion"]) if at else 10


def _deleted_since(server, name, seen):
    return any(k == "DELETED" and o["metadata"]["name"] == name and int(o["metadata"]["resourceVersion"]) > seen for k, o in server.history)
