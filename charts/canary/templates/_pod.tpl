{{/* Labels of a value, on top of which ours win. Numbers and booleans are taken as Flagger's chart takes them: as text. */}}
{{- define "canary.labelsOver" -}}
{{- $labels := dict }}
{{- range $key, $value := .given }}
{{- $_ := set $labels $key (toString $value) }}
{{- end }}
{{- toYaml (merge (include "canary.labels" .root | fromYaml) $labels) }}
{{- end -}}

{{/* Flags of `canary run`, as Flagger spells them. */}}
{{- define "canary.args" -}}
- run
- {{ printf "-log-level=%s" .Values.logLevel | quote }}
- {{ printf "-log-format=%s" .Values.logFormat | quote }}
- -port=8080
- {{ printf "-metrics-server=%s" .Values.metricsServer | quote }}
- {{ printf "-enable-config-tracking=%t" .Values.configTracking.enabled | quote }}
{{- $flags := dict
  "mesh-provider" .Values.meshProvider
  "namespace" .Values.namespace
  "selector-labels" .Values.selectorLabels
  "include-label-prefix" .Values.includeLabelPrefix
  "ingress-class" .Values.ingressClass
  "ingress-annotations-prefix" .Values.ingressAnnotationsPrefix
  "default-gateway" .Values.defaultGateway
  "event-webhook" .Values.eventWebhook
  "cluster-name" .Values.clusterName
  "kubeconfig-qps" .Values.kubeconfigQPS
  "kubeconfig-burst" .Values.kubeconfigBurst
  "max-concurrent-ticks" .Values.maxConcurrentTicks
  "slack-url" .Values.slack.url
  "slack-proxy-url" (default .Values.slack.proxy .Values.slack.proxyUrl)
  "slack-channel" .Values.slack.channel
  "slack-user" .Values.slack.user
  "msteams-url" .Values.msteams.url
  "msteams-proxy-url" .Values.msteams.proxyUrl
}}
{{- range $flag, $value := $flags }}
{{- if $value }}
- {{ printf "-%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- if .Values.noCrossNamespaceRefs }}
- -no-cross-namespace-refs=true
{{- end }}
{{- if .Values.leaderElection.enabled }}
- -enable-leader-election=true
- {{ printf "-leader-election-namespace=%s" .Release.Namespace | quote }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "canary.env" -}}
{{- $secrets := list
  (list "SLACK_URL" .Values.slack.existingSecret .Values.slack.urlKey)
  (list "SLACK_TOKEN" .Values.slack.existingSecret .Values.slack.tokenKey)
  (list "MSTEAMS_URL" .Values.msteams.existingSecret .Values.msteams.urlKey)
}}
{{- range $secrets }}
{{- if index . 1 }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
      optional: true
{{- end }}
{{- end }}
{{- with concat .Values.env .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
