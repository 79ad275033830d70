{{- define "persona.name" -}}
{{- printf "%s-%s" .Release.Name .part | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "persona.selector" -}}
app.kubernetes.io/name: persona
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "persona.labels" -}}
{{ include "persona.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "persona.image" -}}
{{- printf "%s:%s" .image.repository (default .Chart.AppVersion .image.tag) -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks for. */}}
{{- define "persona.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "persona.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* The Secret with what Triton asks for before it loads a model. */}}
{{- define "persona.controlSecret" -}}
{{- default (include "persona.name" (merge (dict "part" "control-key") .)) .Values.controlKey.existingSecret -}}
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
