{{- define "persona.name" -}}
{{- printf "%s-%s" .Release.Name .part | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What chooses pods, and all that pods are labelled with: more would restart them at each release. */}}
{{- define "persona.selector" -}}
app.kubernetes.io/name: persona
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "persona.pods" -}}
matchLabels: {{- include "persona.selector" . | nindent 2 }}
{{- end -}}

{{- define "persona.labels" -}}
{{ include "persona.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "persona.metadata" -}}
name: {{ include "persona.name" . }}
labels: {{- include "persona.labels" . | nindent 2 }}
{{- end -}}

{{- define "persona.image" -}}
{{- printf "%s:%s" .pod.image.repository (default .Chart.AppVersion .pod.image.tag) -}}
{{- end -}}

{{/* Variables, from values and from Secrets. */}}
{{- define "persona.environment" -}}
{{- range $name, $value := .env }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- range $name, $secret := .envFromSecrets }}
- name: {{ $name }}
  valueFrom: { secretKeyRef: { name: {{ $secret.name }}, key: {{ $secret.key }} } }
{{- end }}
{{- end -}}

{{/* The Secret with what gateways show Triton. */}}
{{- define "persona.accessSecret" -}}
{{- default (include "persona.name" (merge (dict "part" "access-key") .)) .Values.accessKey.existingSecret -}}
{{- end -}}

{{- define "persona.accessKey" -}}
- name: TRITON_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ include "persona.accessSecret" . }}, key: key } }
{{- end -}}

{{/* The Secret with keys.json, or nothing if nobody needs a key. */}}
{{- define "persona.keysSecret" -}}
{{- $keys := .Values.apiKeys -}}
{{- if $keys.existingSecret -}}
{{- $keys.existingSecret -}}
{{- else if or $keys.entries $keys.external -}}
{{- include "persona.name" (merge (dict "part" "api-keys") .) -}}
{{- else if not $keys.allowAnonymous -}}
{{- fail "apiKeys: set existingSecret, entries or external, or allowAnonymous: true if whoever reaches the gateway may use it" -}}
{{- end -}}
{{- end -}}

{{/* The names that gateways without keys are asked for by, beside those in .svc and .cluster.local. */}}
{{- define "persona.hosts" -}}
{{- $hosts := list (printf "%s.%s" (include "persona.name" (merge (dict "part" "gateway") .)) .Release.Namespace) -}}
{{- if .Values.ingress.enabled -}}
{{- $hosts = append $hosts .Values.ingress.host -}}
{{- end -}}
{{- if .Values.httpRoute.enabled -}}
{{- $hosts = concat $hosts .Values.httpRoute.hostnames -}}
{{- end -}}
{{- range $hosts -}}
{{- if contains "*" . -}}
{{- fail (printf "%s: without keys, list the names in gateway.env.ALLOWED_HOSTS" .) -}}
{{- end -}}
{{- end -}}
{{- $hosts | uniq | join "," -}}
{{- end -}}

{{/* Whether /metrics needs no key: where nobody from outside reaches it, and Prometheus has none. */}}
{{- define "persona.metricsPublic" -}}
{{- and (eq .Values.gateway.service.type "ClusterIP") (not .Values.monitoring.apiKeySecret) -}}
{{- end -}}

{{/* What the ingress and the route let in: the whole API but /metrics. */}}
{{- define "persona.publicPaths" -}}
- { type: Exact, path: / }
- { type: Exact, path: /status }
- { type: Exact, path: /tokenize }
- { type: Exact, path: /detokenize }
- { type: Exact, path: /tokenizer_info }
- { type: Exact, path: /openapi.json }
- { type: Prefix, path: /docs }
- { type: Prefix, path: /playground }
- { type: Prefix, path: /health }
- { type: Prefix, path: /api }
- { type: Prefix, path: /v1 }
{{- end -}}

{{/* Longer than fetching and loading a model may take. */}}
{{- define "persona.progressSeconds" -}}
{{- add .Values.data.models.fetchSeconds .Values.triton.startSeconds 300 -}}
{{- end -}}
