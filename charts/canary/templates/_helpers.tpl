{{- define "canary.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Flagger's values name this template in their affinity. */}}
{{- define "flagger.name" -}}
{{- include "canary.name" . -}}
{{- end -}}

{{- define "canary.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Flagger's two labels: with nameOverride=flagger a release of its chart is upgraded in place, and a selector can never be changed. */}}
{{- define "canary.selector" -}}
app.kubernetes.io/name: {{ include "canary.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "canary.labels" -}}
{{ include "canary.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: canary
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "canary.serviceAccountName" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "canary.fullname" .) "default" -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{- define "canary.image" -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag | toString) }}
{{- end -}}
{{- end -}}

{{/* "cluster", or the one namespace that the operator has rights in. */}}
{{- define "canary.scope" -}}
{{- $scope := default (empty .Values.namespace | ternary "cluster" "namespaces") .Values.rbac.scope -}}
{{- if eq $scope "cluster" -}}
cluster
{{- else -}}
{{ .Values.namespace }}
{{- end -}}
{{- end -}}

{{/* Where the lease lives: the operator prefers the namespace that it watches, as Flagger does. */}}
{{- define "canary.leaseNamespace" -}}
{{- default .Release.Namespace .Values.namespace -}}
{{- end -}}

{{/* Values that cannot work, each with how to mend it. */}}
{{- define "canary.validate" -}}
{{- $replicas := int .Values.leaderElection.replicaCount -}}
{{- if and (gt $replicas 1) (not .Values.leaderElection.enabled) -}}
{{- fail (printf "leaderElection.replicaCount is %d without leaderElection.enabled: all replicas would act at once; enable it" $replicas) -}}
{{- end -}}
{{- if and (eq (default "" .Values.rbac.scope) "namespaces") (not .Values.namespace) -}}
{{- fail "rbac.scope is namespaces, but the operator watches all of them: set namespace to the one that it shall watch" -}}
{{- end -}}
{{- $mesh := (splitList ":" (default "" .Values.meshProvider)) | first -}}
{{- if and .Values.rbac.create (has $mesh (list "contour" "gatewayapi" "istio")) (not (has $mesh .Values.rbac.meshes)) -}}
{{- fail (printf "meshProvider is %s, but rbac.meshes does not list %s: add it" .Values.meshProvider $mesh) -}}
{{- end -}}
{{- if or (hasSuffix "fluxcd/flagger" .Values.image.repository) (hasSuffix "weaveworks/flagger" .Values.image.repository) -}}
{{- fail (printf "image.repository %s is Flagger's own image: leave image.repository and image.tag out of your values" .Values.image.repository) -}}
{{- end -}}
{{- if .Values.prometheus.install -}}
{{- fail "prometheus.install is not supported: install Prometheus with its own chart and set metricsServer" -}}
{{- end -}}
{{- if .Values.controlplane.kubeconfig.secretName -}}
{{- fail "controlplane.kubeconfig is not supported: a mesh whose objects live in another cluster needs an operator there" -}}
{{- end -}}
{{- end -}}
