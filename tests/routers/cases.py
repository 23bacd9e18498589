"""One release per feature and router. Golden manifests, the contract and the real API server all run over this list."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from canary.core.model import ALL_TO_PRIMARY, Cookies, Routes
from canary.core.release import Options, Release
from tests.routers.releases import release

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Case:
    """`routes` are those that the golden manifest is written with."""

    provider: str
    feature: str
    spec: str = ""
    routes: Routes = ALL_TO_PRIMARY
    options: Options = field(default_factory=Options)

    @property
    def id(self) -> str:
        return f"{self.provider.replace(':', '-')}/{self.feature}"

    @property
    def golden(self) -> Path:
        return GOLDEN / f"{self.id}.yaml"

    def release(self) -> Release:
        return release(self.provider, self.spec, options=self.options)


_HEADERS = """
  headers:
    request: {add: {x-b: two, x-a: one}, set: {x-version: v1}, remove: [x-debug, x-debug]}
    response: {add: {x-served-by: canary}, remove: [server]}
"""
_APEX = """
  apex:
    labels: {team: shop}
    annotations: {owner: shop@example.org}
"""
_AFFINITY = """
analysis:
  stepWeight: 10
  sessionAffinity: {cookieName: canary-user, primaryCookieName: primary-user, domain: example.org, httpOnly: true, maxAge: 300,
                    partitioned: true, path: /app, sameSite: Strict, secure: true}
"""
_RUNNING = Cookies(current="canary-user=abcdefghij", primary="primary-user=klmnopqrst")
_OVER = Cookies(previous="canary-user=abcdefghij", primary="primary-user=klmnopqrst")

KUBERNETES = (Case("kubernetes", "plain"),)

CONTOUR = (
    Case("contour", "plain"),
    Case("contour", "half-way", routes=Routes(70, 30)),
    Case("contour", "all-canary", routes=Routes(0, 100)),
    Case("contour", "baseline", "service: {match: [{uri: {prefix: /api}}], timeout: 10s}", Routes(80, 20, baseline=20)),
    Case("contour", "metadata-and-class", f"service:\n  name: shop{_APEX}", options=Options(ingress_class="contour")),
    Case(
        "contour",
        "prefix-timeout-retries",
        "service: {match: [{uri: {prefix: /api}}], timeout: 10s, retries: {attempts: 3, perTryTimeout: 1s, retryOn: 'gateway-error, reset'}}",
        Routes(90, 10),
    ),
    Case("contour", "ab-header", "analysis: {iterations: 5, match: [{headers: {x-canary: {exact: insider}}}]}", Routes(0, 100)),
    Case(
        "contour",
        "ab-every-way",
        """
service: {match: [{uri: {prefix: /api}}]}
analysis:
  iterations: 5
  match:
    - headers: {x-canary: {exact: insider}, user-agent: {prefix: Firefox}, cookie: {regex: ".*type=insider.*"}}
    - headers: {x-team: {suffix: -beta}}
    - queryParams: {preview: {exact: "1"}, user: {prefix: test-}, group: {regex: "a|b"}}
""",
        Routes(0, 100),
    ),
)

GATEWAY_API = (
    Case("gatewayapi:v1", "plain"),
    Case("gatewayapi:v1", "half-way", "service: {hosts: [app.example.org]}", Routes(70, 30)),
    Case("gatewayapi:v1", "all-canary", routes=Routes(0, 100)),
    Case("gatewayapi:v1", "baseline", f"service:{_HEADERS}", Routes(80, 20, baseline=20)),
    Case("gatewayapi:v1", "metadata", f"service:\n  name: shop{_APEX}"),
    Case(
        "gatewayapi:v1",
        "parents",
        "service: {gatewayRefs: [{name: web, namespace: infra, sectionName: https}, {name: podinfo, group: core, kind: Service, port: 9898}]}",
    ),
    Case(
        "gatewayapi:v1",
        "matches",
        """
service:
  match:
    - uri: {prefix: /api}
      method: {exact: GET}
      headers: {x-b: {exact: "1"}, x-a: {regex: "[0-9]+"}}
      queryParams: {q: {exact: "1"}, a: {regex: ".+"}}
    - uri: {exact: /login}
    - uri: {regex: "/v[0-9]+/.*"}
    - headers: {x-only: {exact: header}}
""",
        Routes(90, 10),
    ),
    Case(
        "gatewayapi:v1",
        "filters",
        f"""
service:{_HEADERS}
  rewrite: {{uri: /v2, authority: backend.example.org}}
  mirror: [{{backendRef: {{name: audit, namespace: infra, port: 80}}}}]
  corsPolicy:
    allowOrigin: ["https://example.org"]
    allowOrigins: [{{exact: "https://shop.example.org"}}, {{regex: "https://.*"}}]
    allowMethods: [GET, POST]
    allowHeaders: [x-token]
    exposeHeaders: [x-served-by]
    allowCredentials: true
    maxAge: 24h
""",
        Routes(90, 10),
    ),
    Case("gatewayapi:v1", "cors-default-age", "service: {corsPolicy: {allowOrigin: ['*'], allowMethods: ['*'], allowCredentials: false}}"),
    Case(
        "gatewayapi:v1",
        "prefix-rewrite",
        "service: {match: [{uri: {prefix: /old}}], rewrite: {uri: /new, type: ReplacePrefixMatch}}",
    ),
    Case("gatewayapi:v1", "timeouts", "service: {timeout: 1.5s, backendTimeout: 1s}"),
    Case(
        "gatewayapi:v1",
        "ab",
        f"""
service:{_HEADERS}
  match: [{{uri: {{prefix: /a}}, headers: {{x-tenant: {{exact: one}}}}}}, {{uri: {{exact: /b}}}}]
analysis:
  iterations: 5
  match:
    - headers: {{x-canary: {{exact: insider}}, cookie: {{regex: ".*insider.*"}}}}
    - queryParams: {{preview: {{exact: "1"}}}}
""",
        Routes(0, 100),
    ),
    Case("gatewayapi:v1", "ab-without-service-match", "analysis: {iterations: 5, match: [{headers: {x-canary: {exact: insider}}}]}"),
    Case("gatewayapi:v1", "mirrored", "analysis: {iterations: 5, mirror: true}", Routes(100, 0, mirrored=True)),
    Case(
        "gatewayapi:v1",
        "affinity",
        f"service: {{match: [{{uri: {{prefix: /app}}, headers: {{x-tenant: {{exact: one}}}}}}]}}\n{_AFFINITY}",
        Routes(90, 10, cookies=_RUNNING),
    ),
    Case("gatewayapi:v1", "affinity-over", f"service:{_HEADERS}{_AFFINITY}", Routes(100, 0, cookies=_OVER)),
    Case(
        "gatewayapi:v1",
        "affinity-canary-only",
        "analysis: {stepWeight: 10, sessionAffinity: {cookieName: canary-user}}",
        Routes(90, 10, cookies=_RUNNING),
    ),
)

ISTIO = (
    Case("istio", "plain"),
    Case("istio", "half-way", routes=Routes(70, 30)),
    Case("istio", "all-canary", routes=Routes(0, 100)),
    Case("istio", "baseline", "service: {trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}", Routes(80, 20, baseline=20)),
    Case("istio", "baseline-at-a-gateway", "service: {portDiscovery: true, gateways: [istio-system/public]}", Routes(67, 33, baseline=33)),
    Case("istio", "baseline-tcp", "service: {appProtocol: TCP, match: [{port: 9898}]}", Routes(80, 20, baseline=20)),
    Case("istio", "metadata", f"service:\n  name: shop{_APEX}"),
    Case("istio", "hosts-and-gateways", "service: {portDiscovery: true, hosts: [app.example.org], gateways: [istio-system/public, mesh]}"),
    Case("istio", "any-host", "service: {hosts: ['*'], gateways: [mesh], portDiscovery: true}"),
    Case("istio", "delegation", "service: {delegation: true, portDiscovery: true}", Routes(90, 10)),
    Case(
        "istio",
        "http-settings",
        f"""
service:{_HEADERS}
  match: [{{name: api, uri: {{prefix: /api}}, method: {{regex: GET|POST}}, withoutHeaders: {{x-old: {{}}}}, ignoreUriCase: true}}, {{port: 9898}}]
  rewrite: {{uri: /, authority: backend.example.org}}
  timeout: 15s
  retries: {{attempts: 3, perTryTimeout: 1s, retryOn: "gateway-error,connect-failure"}}
  corsPolicy: {{allowOrigins: [{{regex: ".*"}}], allowMethods: [GET], allowHeaders: [x-token], exposeHeaders: [x-v], allowCredentials: false, maxAge: 24h}}
""",
        Routes(90, 10),
    ),
    Case(
        "istio",
        "traffic-policy",
        """
service:
  trafficPolicy:
    connectionPool: {http: {http1MaxPendingRequests: 10, h2UpgradePolicy: UPGRADE, maxRequestsPerConnection: 1}}
    loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}
    outlierDetection: {consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m}
    tls: {mode: ISTIO_MUTUAL}
""",
    ),
    Case("istio", "tcp", "service: {appProtocol: TCP, match: [{port: 9898}, {port: 9899}]}", Routes(80, 20)),
    Case(
        "istio",
        "ab",
        f"""
service:{_HEADERS}
  match: [{{uri: {{prefix: /a}}}}, {{uri: {{exact: /b}}, headers: {{x-tenant: {{exact: one}}}}}}]
analysis:
  iterations: 5
  match:
    - headers: {{x-canary: {{exact: insider}}, x-team: {{suffix: .beta}}, user-agent: {{prefix: Firefox}}}}
    - sourceLabels: {{app: tester}}
      queryParams: {{preview: {{exact: "1"}}}}
""",
        Routes(0, 100),
    ),
    Case(
        "istio", "weighted-inside-match", "analysis: {stepWeight: 10, match: [{headers: {cookie: {regex: '.*insider.*'}}}]}", Routes(60, 40)
    ),
    Case("istio", "mirrored", "analysis: {stepWeight: 10, mirror: true, mirrorWeight: 30}", Routes(100, 0, mirrored=True)),
    Case("istio", "mirrored-all", "analysis: {iterations: 5, mirror: true}", Routes(100, 0, mirrored=True)),
    Case(
        "istio",
        "affinity",
        f"service: {{match: [{{uri: {{prefix: /app}}, headers: {{x-tenant: {{exact: one}}}}}}]}}\n{_AFFINITY}",
        Routes(90, 10, cookies=_RUNNING),
    ),
    Case("istio", "affinity-over", f"service:{_HEADERS}{_AFFINITY}", Routes(100, 0, cookies=_OVER)),
    Case(
        "istio",
        "affinity-canary-only",
        "analysis: {stepWeight: 10, sessionAffinity: {cookieName: canary-user}}",
        Routes(90, 10, cookies=_RUNNING),
    ),
)

CASES = (*KUBERNETES, *CONTOUR, *GATEWAY_API, *ISTIO)
