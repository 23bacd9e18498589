{{/*
Exactly the requests that the operator sends. It writes by PATCH only (server-side apply needs `create` besides), so nothing grants
`update`; what it deletes is its own copies of configs, old CanaryRuns, and fresh baselines (a Deployment and a Service of a run that has ended).
Everything else goes with its owner, the Canary.
*/}}
{{- define "canary.rules" -}}
{{- $read := "get, list, watch" -}}
{{- $write := "get, list, watch, create, patch" -}}
- apiGroups: [flagger.app]
  resources: [canaries]
  verbs: [{{ $read }}, patch]
- apiGroups: [flagger.app]
  resources: [metrictemplates, alertproviders]
  verbs: [{{ $read }}]
- apiGroups: [flagger.app]
  resources: [canaries/status]
  verbs: [patch]
# Owner references that block deletion need this where the API server checks them (OpenShift does).
- apiGroups: [flagger.app]
  resources: [canaries/finalizers]
  verbs: [update]
- apiGroups: [canary.dev]
  resources: [canaryruns]
  verbs: [{{ $read }}, create, delete]
- apiGroups: [canary.dev]
  resources: [gitsinks]
  verbs: [{{ $read }}]
- apiGroups: [canary.dev]
  resources: [canaryruns/status, gitsinks/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [{{ $write }}{{ if .Values.rbac.freshBaselines }}, delete{{ end }}]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [{{ $write }}{{ if .Values.rbac.freshBaselines }}, delete{{ end }}]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [{{ $write }}]
{{- if .Values.configTracking.enabled }}
# Copies of a target's configs belong to its primary: read, written, and replaced when they are immutable.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [{{ $write }}, delete]
{{- else }}
# Credentials of MetricTemplates, AlertProviders, GitSinks and webhooks.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.keda }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [{{ $write }}]
{{- end }}
{{- if has "flux" .Values.rbac.deliverers }}
# Which commit a run was started by, and whether the revert of a failed one has been applied.
- apiGroups: [kustomize.toolkit.fluxcd.io]
  resources: [kustomizations]
  verbs: [get]
- apiGroups: [helm.toolkit.fluxcd.io]
  resources: [helmreleases]
  verbs: [get]
- apiGroups: [source.toolkit.fluxcd.io]
  resources: [gitrepositories]
  verbs: [get]
{{- end }}
{{- if has "argocd" .Values.rbac.deliverers }}
- apiGroups: [argoproj.io]
  resources: [applications]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.keptn }}
# An Analysis is made for one check, and taken away again.
- apiGroups: [metrics.keptn.sh]
  resources: [keptnmetrics]
  verbs: [get]
- apiGroups: [metrics.keptn.sh]
  resources: [analyses]
  verbs: [get, create, delete]
{{- end }}
{{- if .Values.rbac.externalMetrics }}
# Resources of this API are names of metrics, which only the author of a MetricTemplate knows.
- apiGroups: [external.metrics.k8s.io]
  resources: ["*"]
  verbs: [list]
{{- end }}
{{- if has "contour" .Values.rbac.meshes }}
- apiGroups: [projectcontour.io]
  resources: [httpproxies]
  verbs: [{{ $write }}]
{{- end }}
{{- if has "gatewayapi" .Values.rbac.meshes }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [{{ $write }}]
{{- end }}
{{- if has "istio" .Values.rbac.meshes }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [{{ $write }}]
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
