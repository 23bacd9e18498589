"""Canary manifests for comparing two API servers: generated from a schema and then damaged, and hand-picked ones."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]
Object = dict[str, Any]

# Values that each pattern of the schema accepts.
_MATCHING = {
    "^[0-9]+(m|s)": ["1s", "10s", "1m", "1m30s", "100ms", "5minutes"],
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": ["prod", "team-a"],
    "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$": ["Service", "Gateway"],
}
_ODD_VALUES: list[Callable[[], Any]] = [
    lambda: None,
    lambda: "",
    lambda: "text",
    lambda: "1h",
    lambda: "Nope",
    lambda: 0,
    lambda: -1,
    lambda: 2.5,
    lambda: 70000,
    lambda: 2**40,
    lambda: True,
    list,
    lambda: [1, "a"],
    lambda: [{}],
    dict,
    lambda: {"a": 1},
    lambda: {"exact": "x", "regex": "y"},
]


class Generator:
    """Valid objects of a schema, and damaged ones. The same seed gives the same objects."""

    def __init__(self, schema: Schema, *, seed: int) -> None:
        self.schema = schema
        self.random = random.Random(seed)

    def canaries(self, count: int) -> Iterator[Object]:
        """Canaries with none (one in four), one, or a few mistakes."""
        spec = self.schema["properties"]["spec"]
        for index in range(count):
            body = self.value(spec, depth=0)
            for _ in range(self.random.choice((0, 1, 1, 3))):
                self.damage(body)
            head = {
                "apiVersion": "flagger.app/v1beta1",
                "kind": "Canary",
                "metadata": {"name": f"generated-{index}", "namespace": "default"},
            }
            yield head | {"spec": body}

    def value(self, schema: Schema, depth: int) -> Any:
        """A value that the schema accepts, optional parts left out ever more often with depth."""
        choose = self.random
        if "enum" in schema:
            return choose.choice(schema["enum"])
        if schema.get("x-kubernetes-int-or-string"):
            return choose.choice([8080, "http", 0])
        match schema.get("type"):
            case "object" if "additionalProperties" in schema:
                return {f"key-{index}": self.value(schema["additionalProperties"], depth + 1) for index in range(choose.randint(0, 2))}
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self.value(schema["items"], depth + 1) for _ in range(choose.randint(0, 2))]
            case "string":
                return choose.choice(_MATCHING.get(schema.get("pattern", ""), ["podinfo", "a.b.c"]))
            case "boolean":
                return choose.random() < 0.5
            case "integer":
                return choose.randint(max(1, schema.get("minimum", 0)), min(100, schema.get("maximum", 100)))
            case _:
                return choose.choice([0, 1, 5, 50, 100])

    def _object(self, schema: Schema, depth: int) -> Object:
        properties = schema["properties"]
        rules = schema.get("oneOf", [])
        governed = {name for rule in rules for name in rule.get("required", ())} | {
            name for rule in rules for branch in rule.get("not", {}).get("anyOf", ()) for name in branch["required"]
        }
        wanted = set(schema.get("required", ())) | (set(self.random.choice(rules).get("required", ())) if rules else set())
        if "backendRef" in properties:
            wanted.add("backendRef")
        if {"group", "kind", "port"} <= set(properties):
            wanted.add("port")  # a CEL rule asks for it where the backend is a Service
        chance = 0.75 if depth < 2 else 0.4
        wanted |= {name for name in properties if name not in governed and self.random.random() < chance}
        return {name: self.value(properties[name], depth + 1) for name in properties if name in wanted}

    def damage(self, body: Object) -> None:
        """One mistake somewhere: another value, a missing key, an unknown key, or a second schedule."""
        container, key = self.random.choice(list(_places(body)))
        match self.random.randrange(6):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container["unknown"] = self.random.choice(_ODD_VALUES)()
            case 2 if isinstance(body.get("analysis"), dict):
                extra = self.random.choice(["iterations", "stepWeight", "stepWeights", "threshold", "interval"])
                body["analysis"].setdefault(extra, [10, 20] if extra == "stepWeights" else 10)
            case _:
                container[key] = self.random.choice(_ODD_VALUES)()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(keys):
        yield node, key
        yield from _places(value)


# ------------------------------------------------------------------------------------------------ hand-picked


def plain() -> Object:
    """A small Canary that upstream accepts."""
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "podinfo", "namespace": "default"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "service": {"port": 9898},
            "analysis": {"interval": "10s", "threshold": 5, "stepWeight": 10},
        },
    }


def edited(**paths: Any) -> Object:
    """`plain()` with values at dotted paths (`__` for a dot); `...` removes the key."""
    obj = copy.deepcopy(plain())
    for dotted, value in paths.items():
        *parents, last = dotted.split("__")
        node = obj["spec"]
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is ...:
            node.pop(last, None)
        else:
            node[last] = value
    return obj


REF = {"apiVersion": "v1", "kind": "Deployment", "name": "podinfo"}
BACKEND = {"name": "shadow", "port": 80}

HAND_PICKED: dict[str, Object] = {
    "plain": plain(),
    "no spec": {key: value for key, value in plain().items() if key != "spec"},
    "empty spec": edited(targetRef=..., service=..., analysis=...),
    "no target": edited(targetRef=...),
    "no analysis": edited(analysis=...),
    "no service": edited(service=...),
    "service without port": edited(service__port=...),
    "port as text": edited(service__port="9898"),
    "fractional port": edited(service__port=98.5),
    "negative port": edited(service__port=-1),
    "target kind StatefulSet": edited(targetRef__kind="StatefulSet"),
    "target kind Service": edited(targetRef__kind="Service"),
    "target without name": edited(targetRef__name=...),
    "target without apiVersion": edited(targetRef__apiVersion=...),
    "Knative": edited(targetRef__kind="Service", targetRef__apiVersion="serving.knative.dev/v1", provider="knative", service=...),
    "provider istio": edited(provider="istio"),
    "provider gatewayapi without version": edited(provider="gatewayapi"),
    "provider with mesh suffix": edited(provider="smi:v1alpha1:istio"),
    "empty provider": edited(provider=""),
    "null provider": edited(provider=None),
    "interval in hours": edited(analysis__interval="1h"),
    "interval 1m30s": edited(analysis__interval="1m30s"),
    "interval in words": edited(analysis__interval="5minutes"),
    "interval 100ms": edited(analysis__interval="100ms"),
    "interval 1s": edited(analysis__interval="1s"),
    "interval without unit": edited(analysis__interval="10"),
    "interval as number": edited(analysis__interval=10),
    "no interval": edited(analysis__interval=...),
    "no threshold": edited(analysis__threshold=...),
    "negative threshold": edited(analysis__threshold=-1),
    "fractional threshold": edited(analysis__threshold=2.5),
    "threshold 5.0": edited(analysis__threshold=5.0),
    "no schedule": edited(analysis__stepWeight=...),
    "two schedules": edited(analysis__iterations=10),
    "three schedules": edited(analysis__iterations=10, analysis__stepWeights=[1, 2]),
    "iterations": edited(analysis__stepWeight=..., analysis__iterations=10),
    "stepWeights": edited(analysis__stepWeight=..., analysis__stepWeights=[1, 5, 50]),
    "empty stepWeights": edited(analysis__stepWeight=..., analysis__stepWeights=[]),
    "stepWeights as text": edited(analysis__stepWeight=..., analysis__stepWeights=["1"]),
    "match with stepWeight": edited(analysis__match=[{"headers": {"x-canary": {"exact": "insider"}}}]),
    "header match without a way": edited(analysis__match=[{"headers": {"x-canary": {}}}]),
    "header match in two ways": edited(analysis__match=[{"headers": {"x-canary": {"exact": "a", "regex": "b"}}}]),
    "header match by suffix": edited(analysis__match=[{"headers": {"cookie": {"suffix": "x"}}}]),
    "query match without a way": edited(analysis__match=[{"queryParams": {"beta": {}}}]),
    "query match in two ways": edited(analysis__match=[{"queryParams": {"beta": {"exact": "a", "prefix": "b"}}}]),
    "pruned match keys": edited(analysis__match=[{"uri": {"prefix": "/"}, "sourceLabels": {"app": "x"}}]),
    "metric without name": edited(analysis__metrics=[{"threshold": 99}]),
    "metric with empty range": edited(analysis__metrics=[{"name": "request-success-rate", "thresholdRange": {}}]),
    "metric with text bound": edited(analysis__metrics=[{"name": "x", "thresholdRange": {"min": "99"}}]),
    "metric interval in hours": edited(analysis__metrics=[{"name": "x", "interval": "1h"}]),
    "template without name": edited(analysis__metrics=[{"name": "x", "templateRef": {"namespace": "y"}}]),
    "template variables": edited(analysis__metrics=[{"name": "x", "templateRef": {"name": "y"}, "templateVariables": {"a": "b"}}]),
    "template variable as number": edited(analysis__metrics=[{"name": "x", "templateVariables": {"a": 1}}]),
    "webhook": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "metadata": {"cmd": "hey"}}]),
    "webhook with empty type": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "type": ""}]),
    "webhook of unknown type": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "type": "confirm"}]),
    "webhook without url": edited(analysis__webhooks=[{"name": "x"}]),
    "webhook with odd url": edited(analysis__webhooks=[{"name": "x", "url": "not a url"}]),
    "webhook retries fractional": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "retries": 1.5}]),
    "webhook timeout in words": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "timeout": "5minutes"}]),
    "webhook metadata number": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "metadata": {"n": 1}}]),
    "alert": edited(analysis__alerts=[{"name": "x", "severity": "", "providerRef": {"name": "y"}}]),
    "alert without provider": edited(analysis__alerts=[{"name": "x"}]),
    "alert of unknown severity": edited(analysis__alerts=[{"name": "x", "severity": "fatal", "providerRef": {"name": "y"}}]),
    "session affinity": edited(analysis__sessionAffinity={"cookieName": "x"}),
    "session affinity without cookie": edited(analysis__sessionAffinity={"maxAge": 1}),
    "session affinity sameSite": edited(analysis__sessionAffinity={"cookieName": "x", "sameSite": "strict"}),
    "autoscaler": edited(autoscalerRef={**REF, "kind": "HorizontalPodAutoscaler"}),
    "autoscaler kind": edited(autoscalerRef={**REF, "kind": "VerticalPodAutoscaler"}),
    "scaler replicas 0": edited(autoscalerRef={**REF, "kind": "ScaledObject", "primaryScalerReplicas": {"minReplicas": 0}}),
    "scaler replicas 1": edited(autoscalerRef={**REF, "kind": "ScaledObject", "primaryScalerReplicas": {"minReplicas": 1}}),
    "ingress": edited(ingressRef={**REF, "kind": "Ingress"}),
    "route": edited(routeRef={**REF, "kind": "ApisixRoute"}),
    "upstream": edited(upstreamRef={**REF, "kind": "Upstream", "namespace": "gloo"}),
    "gateways": edited(service__gatewayRefs=[{"name": "gw"}]),
    "gateway without name": edited(service__gatewayRefs=[{"namespace": "x"}]),
    "gateway Service": edited(service__gatewayRefs=[{"name": "gw", "group": "core", "kind": "Service", "port": 80}]),
    "gateway empty group": edited(service__gatewayRefs=[{"name": "gw", "group": ""}]),
    "gateway bad section": edited(service__gatewayRefs=[{"name": "gw", "sectionName": "A B"}]),
    "gateway port 0": edited(service__gatewayRefs=[{"name": "gw", "port": 0}]),
    "33 gateways": edited(service__gatewayRefs=[{"name": f"gw{index}"} for index in range(33)]),
    "mirror": edited(service__mirror=[{"backendRef": BACKEND}]),
    "mirror without port": edited(service__mirror=[{"backendRef": {"name": "shadow"}}]),
    "mirror other kind without port": edited(service__mirror=[{"backendRef": {"name": "x", "group": "a.b", "kind": "Other"}}]),
    "mirror without backend": edited(service__mirror=[{}]),
    "targetPort as name": edited(service__targetPort="http"),
    "targetPort as number": edited(service__targetPort=9898),
    "targetPort as boolean": edited(service__targetPort=True),
    "service match": edited(service__match=[{"uri": {"prefix": "/"}}, {"headers": {"a": {"exact": "b"}}, "port": 80}]),
    "service match empty": edited(service__match=[{"uri": {}}]),
    "service match twice": edited(service__match=[{"uri": {"prefix": "/", "exact": "/x"}}]),
    "service match by suffix": edited(service__match=[{"uri": {"suffix": "/"}}]),
    "null in a map": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "metadata": {"a": None, "b": "c"}}]),
    "null in a list": edited(analysis__stepWeight=..., analysis__stepWeights=[1, None]),
    "null service": edited(service=None),
    "null analysis": edited(analysis=None),
    "null schedule": edited(analysis__iterations=None),
    "null interval": edited(analysis__interval=None),
    "null hosts": edited(service__hosts=None),
    "hosts": edited(service__hosts=["a.example", "*"]),
    "trafficDistribution": edited(service__trafficDistribution="PreferClose"),
    "trafficDistribution unknown": edited(service__trafficDistribution="PreferFar"),
    "cors origins": edited(service__corsPolicy={"allowOrigins": [{"exact": "*"}], "maxAge": "24h"}),
    "cors origin in no way": edited(service__corsPolicy={"allowOrigins": [{}]}),
    "retries": edited(service__retries={"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx"}),
    "retries huge": edited(service__retries={"attempts": 2**40}),
    "tls": edited(service__trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}}),
    "tls unknown": edited(service__trafficPolicy={"tls": {"mode": "PLAIN"}}),
    "balancer simple": edited(service__trafficPolicy={"loadBalancer": {"simple": "LEAST_REQUEST"}}),
    "balancer empty": edited(service__trafficPolicy={"loadBalancer": {}}),
    "balancer both": edited(service__trafficPolicy={"loadBalancer": {"simple": "RANDOM", "consistentHash": {"useSourceIp": True}}}),
    "balancer hash without key": edited(service__trafficPolicy={"loadBalancer": {"consistentHash": {}}}),
    "balancer hash cookie": edited(service__trafficPolicy={"loadBalancer": {"consistentHash": {"httpCookie": {"name": "x", "ttl": "0s"}}}}),
    "locality": edited(
        service__trafficPolicy={
            "loadBalancer": {"simple": "RANDOM", "localityLbSetting": {"enabled": True, "distribute": [{"from": "a/*", "to": {"b/*": 100}}]}}
        }
    ),
    "pruned traffic policy": edited(service__trafficPolicy={"portLevelSettings": [{"port": 1}], "connectionPool": {"tcp": {"maxConnections": 1}}}),
    "connection pool": edited(service__trafficPolicy={"connectionPool": {"http": {"http1MaxPendingRequests": 1, "h2UpgradePolicy": "UPGRADE"}}}),
    "outliers": edited(service__trafficPolicy={"outlierDetection": {"consecutive5xxErrors": 7, "interval": "5m"}}),
    "metadata": edited(service__apex={"labels": {"a": "b"}}, service__unmanagedMetadata={"annotations": ["x"]}),
    "unknown top-level field": edited(strategy="canary"),
    "suspend as text": edited(suspend="true"),
}  # fmt: skip
