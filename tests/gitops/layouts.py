"""Repositories as people lay them out. In each, `TAG` is the version of podinfo; `DIGEST` goes with it."""

from __future__ import annotations

OLD, NEW = "6.0.0", "6.1.0"
REPO = "ghcr.io/acme/podinfo"
DIGESTS = {OLD: "sha256:" + "a" * 64, NEW: "sha256:" + "b" * 64}


def at(files: dict[str, str], tag: str) -> dict[str, bytes]:
    """The files at a version."""
    return {path: text.replace("TAG", tag).replace("DIGEST", DIGESTS[tag]).encode() for path, text in files.items()}


def deployment(image: str = f"{REPO}:TAG", *, name: str = "podinfo", namespace: str = "") -> str:
    place = f"  namespace: {namespace}\n" if namespace else ""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
{place}spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: sidecar
        image: ghcr.io/acme/sidecar:1.0
      - name: podinfo
        image: {image}
        resources:
          limits: {{memory: 64Mi}}
"""


PLAIN = deployment(namespace="prod")
BASE = {
    "apps/base/kustomization.yaml": "resources:\n- deployment.yaml\n",
    "apps/base/deployment.yaml": deployment(REPO),
}
STAGING = {
    "apps/staging/kustomization.yaml": f"namespace: staging\nresources: [../base]\nimages:\n- name: {REPO}\n  newTag: 7.0.0-rc1\n",
}
HELM = """apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: podinfo
  namespace: prod
spec:
  interval: 5m
  chart:
    spec:
      chart: podinfo
      version: 6.x
      sourceRef: {kind: HelmRepository, name: podinfo}
  values:
    replicaCount: 2
"""
GIT_CHART = """apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: podinfo, namespace: prod}
spec:
  chart:
    spec:
      chart: ./charts/podinfo
      sourceRef: {kind: GitRepository, name: fleet}
      valuesFiles:
      - charts/podinfo/values.yaml
      - releases/prod/values.yaml
"""
FLUX = """apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 10m
  path: ./apps/prod
  prune: true
"""
ARGO = """apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: podinfo
  namespace: argocd
spec:
  destination: {server: https://kubernetes.default.svc, namespace: prod}
  source:
    repoURL: https://git.example/acme/fleet
    targetRevision: main
"""
VALUES = f"# what the chart is given\nimage:\n  repository: {REPO}\n  tag: TAG # bumped by hand\nreplicaCount: 2\n"


def overlay(more: str, **files: str) -> dict[str, str]:
    """A base, staging, and prod with this."""
    extra = {f"apps/prod/{name.replace('_', '.')}": text for name, text in files.items()}
    return {**BASE, **STAGING, "apps/prod/kustomization.yaml": f"namespace: prod\nresources:\n- ../base\n{more}", **extra}


PATCH = f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
spec:
  template:
    spec:
      containers:
      - name: podinfo
        image: {REPO}:TAG
"""
OPERATIONS = f"- op: replace\n  path: /spec/template/spec/containers/1/image\n  value: {REPO}:TAG\n"
IMAGES = f"images:\n- name: {REPO}\n  newTag: TAG # prod\n"


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


# name: (files, file that changes, path of the value)
HIGH: dict[str, tuple[dict[str, str], str, str]] = {
    "plain": ({"a.yaml": PLAIN}, "a.yaml", "spec.template.spec.containers[1].image"),
    "crlf": ({"a.yaml": PLAIN.replace("\n", "\r\n")}, "a.yaml", "spec.template.spec.containers[1].image"),
    "no final newline": (
        {"a.yaml": PLAIN.rstrip().replace("\n        resources:\n          limits: {memory: 64Mi}", "")},
        "a.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "comments and quotes": (
        {"a.yaml": f"# {REPO}:6.1.0 is the best\n" + PLAIN.replace(f"{REPO}:TAG", f"'{REPO}:TAG'   # {REPO}:6.1.0")},
        "a.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "multi-document": (
        {"a.yaml": f"---\n{deployment('x:6.1.0', name='other')}---\n{PLAIN}...\n---\nkind: Service\n"},
        "a.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "flow style": (
        {
            "a.yaml": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: podinfo, namespace: prod}, "
            f"spec: {{template: {{spec: {{containers: [{{name: podinfo, image: '{REPO}:TAG'}}]}}}}}}}}\n"
        },
        "a.yaml",
        "spec.template.spec.containers[0].image",
    ),
    "anchors elsewhere": (
        {"a.yaml": PLAIN.replace("limits: {memory: 64Mi}", "limits: &l {memory: 64Mi}\n          requests: *l")},
        "a.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "a sealed secret in the same file": (
        {
            "a.yaml": f"apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {{name: podinfo}}\nspec: {{encryptedData: {{a: AgB=}}}}\n---\n{PLAIN}"
        },
        "a.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "overlay": (overlay(IMAGES), "apps/prod/kustomization.yaml", "images[0].newTag"),
    "overlay in flow style and crlf": (
        overlay(f"images: [{{name: {REPO}, newTag: 'TAG'}}]\n".replace("\n", "\r\n")),
        "apps/prod/kustomization.yaml",
        "images[0].newTag",
    ),
    "overlay with a new name": (
        {
            **overlay(f"images:\n- name: podinfo-image\n  newName: {REPO}\n  newTag: TAG\n"),
            "apps/base/deployment.yaml": deployment("podinfo-image"),
        },
        "apps/prod/kustomization.yaml",
        "images[0].newTag",
    ),
    "overlay with a digest": (
        overlay(f"images:\n- name: other\n  newTag: 6.1.0\n- name: {REPO}\n  digest: DIGEST\n"),
        "apps/prod/kustomization.yaml",
        "images[1].digest",
    ),
    "flux's marker in an overlay": (
        overlay(f'images:\n- name: {REPO}\n  newTag: TAG # {{"$imagepolicy": "flux-system:podinfo:tag"}}\n'),
        "apps/prod/kustomization.yaml",
        "images[0].newTag",
    ),
    "component": (
        {
            **overlay("components: [../release]\n"),
            "apps/release/kustomization.yaml": f"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n{IMAGES}",
        },
        "apps/release/kustomization.yaml",
        "images[0].newTag",
    ),
    "strategic patch in a file": (
        overlay("patches:\n- path: patch.yaml\n", patch_yaml=PATCH),
        "apps/prod/patch.yaml",
        "spec.template.spec.containers[0].image",
    ),
    "old list of strategic patches": (
        overlay("patchesStrategicMerge:\n- patch.yaml\n", patch_yaml=PATCH),
        "apps/prod/patch.yaml",
        "spec.template.spec.containers[0].image",
    ),
    "json patch in a file": (
        overlay("patches:\n- path: op.yaml\n  target: {kind: Deployment, name: podinfo}\n", op_yaml=OPERATIONS),
        "apps/prod/op.yaml",
        "[0].value",
    ),
    "inline strategic patch": (
        overlay(f"patches:\n- patch: |-\n{indented(PATCH, 4)}"),
        "apps/prod/kustomization.yaml",
        "patches[0].patch: spec.template.spec.containers[0].image",
    ),
    "inline json patch, crlf": (
        overlay(f"patches:\n- target: {{kind: Deployment}}\n  patch: |\n{indented(OPERATIONS, 6)}".replace("\n", "\r\n")),
        "apps/prod/kustomization.yaml",
        "patches[0].patch: [0].value",
    ),
    "flux sets the namespace": (
        {
            "clusters/prod/apps.yaml": FLUX + "  targetNamespace: prod\n",
            "clusters/staging/apps.yaml": FLUX.replace("apps/prod", "apps/staging") + "  targetNamespace: staging\n",
            "apps/prod/kustomization.yaml": f"resources: [../base]\n{IMAGES}",
            "apps/staging/kustomization.yaml": f"resources: [../base]\nimages:\n- name: {REPO}\n  newTag: 6.1.0\n",
            **BASE,
        },
        "apps/prod/kustomization.yaml",
        "images[0].newTag",
    ),
    "flux replaces the image": (
        {
            "clusters/prod/apps.yaml": f"{FLUX}  targetNamespace: prod\n  images:\n  - name: {REPO}\n    newTag: TAG\n",
            "apps/prod/deployment.yaml": deployment(REPO),
        },
        "clusters/prod/apps.yaml",
        "spec.images[0].newTag",
    ),
    "flux substitutes the tag": (
        {
            "clusters/prod/apps.yaml": f"{FLUX}  targetNamespace: prod\n  postBuild:\n    substitute:\n      TAG_OF_IT: TAG # now\n".replace(
                "TAG_OF_IT", "podinfo_version"
            ),
            "apps/prod/kustomization.yaml": f"resources: [d.yaml]\nimages:\n- name: {REPO}\n  newTag: ${{podinfo_version}}\n",
            "apps/prod/d.yaml": deployment(REPO),
        },
        "clusters/prod/apps.yaml",
        "spec.postBuild.substitute.podinfo_version",
    ),
    "flux substitutes a part of the image": (
        {
            "clusters/prod/apps.yaml": f"{FLUX}  postBuild: {{substitute: {{v: TAG}}}}\n",
            "apps/prod/d.yaml": PLAIN.replace("TAG", "${v:=1.0}"),
        },
        "clusters/prod/apps.yaml",
        "spec.postBuild.substitute.v",
    ),
    "flux substitutes a value": (
        {
            "clusters/prod/apps.yaml": f"{FLUX}  postBuild: {{substitute: {{v: 'TAG'}}}}\n",
            "apps/prod/r.yaml": f"{HELM}    image:\n      repository: {REPO}\n      tag: ${{v}}\n",
        },
        "clusters/prod/apps.yaml",
        "spec.postBuild.substitute.v",
    ),
    "flux delivers a folder without a kustomization": (
        {"clusters/prod/apps.yaml": FLUX, "apps/prod/x/d.yaml": PLAIN, "apps/other/d.yaml": deployment("x:1", namespace="staging")},
        "apps/prod/x/d.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "two clusters deliver one folder": (
        {"clusters/a/apps.yaml": FLUX, "clusters/b/apps.yaml": FLUX, "apps/prod/d.yaml": PLAIN},
        "apps/prod/d.yaml",
        "spec.template.spec.containers[1].image",
    ),
    "helm values": (
        {
            "a.yaml": f"{HELM}    image:\n      repository: {REPO}\n      tag: TAG\n    redis:\n      image: {{repository: redis, tag: 6.1.0}}\n"
        },
        "a.yaml",
        "spec.values.image.tag",
    ),
    "helm values with a tag alone": ({"a.yaml": f'{HELM}    image:\n      tag: "TAG" # bumped\n'}, "a.yaml", "spec.values.image.tag"),
    "helm values with one string": ({"a.yaml": f"{HELM}    image: {REPO}:TAG\n"}, "a.yaml", "spec.values.image"),
    "helm values with a registry": (
        {"a.yaml": f"{HELM}    image:\n      registry: ghcr.io\n      repository: acme/podinfo\n      tag: TAG\n"},
        "a.yaml",
        "spec.values.image.tag",
    ),
    "helm values, flat": ({"a.yaml": f"{HELM}    imageRepository: {REPO}\n    imageTag: TAG\n"}, "a.yaml", "spec.values.imageTag"),
    "helm values with a marker": (
        {"a.yaml": f'{HELM}    podinfoVersion: TAG # {{"$imagepolicy": "flux-system:podinfo:tag"}}\n'},
        "a.yaml",
        "spec.values.podinfoVersion",
    ),
    "helm values of a part": (
        {
            "a.yaml": f"{HELM}    fullnameOverride: podinfo\n    backend:\n      image: {REPO}:TAG\n".replace(
                "name: podinfo\n  name", "name: shop\n  name"
            )
        },
        "a.yaml",
        "spec.values.backend.image",
    ),
    "helm release patched by an overlay": (
        {
            "base/kustomization.yaml": "resources: [r.yaml]\n",
            "base/r.yaml": HELM.replace("  namespace: prod\n", "") + f"    image: {{repository: {REPO}, tag: 1.0.0}}\n",
            "prod/kustomization.yaml": "namespace: prod\nresources: [../base]\npatches: [{path: p.yaml}]\n",
            "prod/p.yaml": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: podinfo}\nspec: {values: {image: {tag: TAG}}}\n",
            "staging/kustomization.yaml": "namespace: staging\nresources: [../base]\n",
        },
        "prod/p.yaml",
        "spec.values.image.tag",
    ),
    "values file of a chart in the repository": (
        {
            "releases/prod/release.yaml": GIT_CHART,
            "releases/prod/values.yaml": VALUES,
            "charts/podinfo/values.yaml": f"image: {{repository: {REPO}, tag: ''}}\n",
            "charts/podinfo/Chart.yaml": "name: podinfo\nversion: 1.0.0\n",
            "charts/podinfo/templates/d.yaml": 'kind: Deployment\nmetadata:\n  name: {{ include "podinfo" . }}\n',
        },
        "releases/prod/values.yaml",
        "image.tag",
    ),
    "generated values": (
        {
            "prod/kustomization.yaml": "namespace: prod\nresources: [r.yaml]\nconfigMapGenerator:\n- name: podinfo-values\n  files: [values.yaml=podinfo.yaml]\n",
            "prod/r.yaml": HELM.replace("  values:\n    replicaCount: 2\n", "  valuesFrom:\n  - {kind: ConfigMap, name: podinfo-values}\n"),
            "prod/podinfo.yaml": VALUES,
        },
        "prod/podinfo.yaml",
        "image.tag",
    ),
    "argo cd parameters": (
        {
            "a.yaml": f"{ARGO}    chart: podinfo\n    helm:\n      parameters:\n      - name: image.repository\n        value: {REPO}\n      - name: image.tag\n        value: TAG\n"
        },
        "a.yaml",
        "spec.source.helm.parameters[1].value",
    ),
    "argo cd values": (
        {
            "a.yaml": f"{ARGO}    chart: podinfo\n    helm:\n      valuesObject:\n        image:\n          tag: TAG\n          repository: {REPO}\n"
        },
        "a.yaml",
        "spec.source.helm.valuesObject.image.tag",
    ),
    "argo cd values in a text": (
        {"a.yaml": f"{ARGO}    chart: podinfo\n    helm:\n      values: |\n{indented(VALUES, 8)}"},
        "a.yaml",
        "spec.source.helm.values: image.tag",
    ),
    "argo cd values file": (
        {
            "apps/podinfo.yaml": f"{ARGO}    path: charts/podinfo\n    helm:\n      valueFiles: [../../env/prod.yaml]\n",
            "charts/podinfo/Chart.yaml": "name: podinfo\n",
            "charts/podinfo/values.yaml": VALUES.replace("TAG", "latest"),
            "env/prod.yaml": "image: {tag: TAG}\n",
        },
        "env/prod.yaml",
        "image.tag",
    ),
    "argo cd values of another source": (
        {
            "apps/podinfo.yaml": ARGO[: ARGO.index("  source:")]
            + "  sources:\n  - {repoURL: https://charts.example, chart: podinfo, targetRevision: 6.x, helm: {valueFiles: [$here/env/prod.yaml]}}\n"
            + "  - {repoURL: https://git.example/acme/fleet, ref: here}\n",
            "env/prod.yaml": VALUES,
        },
        "env/prod.yaml",
        "image.tag",
    ),
    "argo cd images": (
        {"a.yaml": f"{ARGO}    path: apps/base\n    kustomize:\n      images:\n      - {REPO}:TAG\n", **BASE},
        "a.yaml",
        "spec.source.kustomize.images[0]",
    ),
    "argo cd images under another name": (
        {
            "a.yaml": f"{ARGO}    path: apps/base\n    kustomize:\n      images: ['podinfo-image={REPO}:TAG']\n",
            **BASE,
            "apps/base/deployment.yaml": deployment("podinfo-image"),
        },
        "a.yaml",
        "spec.source.kustomize.images[0]",
    ),
    "argo cd's image updater": (
        {
            "argo.yaml": f"{ARGO}    path: apps/base\n",
            **BASE,
            "apps/base/.argocd-source-podinfo.yaml": f"kustomize:\n  images:\n  - {REPO}:TAG\n",
        },
        "apps/base/.argocd-source-podinfo.yaml",
        "kustomize.images[0]",
    ),
    "our marker": (
        {"vars.yaml": 'podinfo:\n  release: TAG # {"$canary": "prod/podinfo:podinfo:tag"}\n  kind: Deployment\n'},
        "vars.yaml",
        "podinfo.release",
    ),
}
