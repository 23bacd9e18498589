{{- define "loadtester.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "loadtester.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What the Deployment selects by: Flagger's label and nothing else, because a Deployment's selector can never be changed. */}}
{{- define "loadtester.selector" -}}
app: {{ include "loadtester.name" . }}
{{- end -}}

{{/* What the Service and the policies select by: this release alone, even if a second one runs in the namespace. */}}
{{- define "loadtester.podSelector" -}}
{{ include "loadtester.selector" . }}
app.kubernetes.io/name: {{ include "loadtester.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "loadtester.labels" -}}
app.kubernetes.io/name: {{ include "loadtester.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: load-tester
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Empty: the namespace's default account. */}}
{{- define "loadtester.serviceAccountName" -}}
{{- if .Values.serviceAccountName -}}
{{ .Values.serviceAccountName }}
{{- else if .Values.rbac.create -}}
{{ include "loadtester.fullname" . }}
{{- end -}}
{{- end -}}

{{- define "loadtester.automount" -}}
{{- if kindIs "bool" .Values.automountServiceAccountToken -}}
{{ .Values.automountServiceAccountToken }}
{{- else -}}
{{ or .Values.rbac.create (ne .Values.serviceAccountName "") }}
{{- end -}}
{{- end -}}

{{/*
A volume that one node at a time can hold must be let go before the next pod starts. Not by the type Recreate: server-side apply
cannot change a stored RollingUpdate to it.
*/}}
{{- define "loadtester.strategy" -}}
type: RollingUpdate
{{- if and .Values.persistence.enabled (not (has "ReadWriteMany" .Values.persistence.accessModes)) }}
rollingUpdate:
  maxSurge: 0
  maxUnavailable: 100%
{{- end }}
{{- end -}}
