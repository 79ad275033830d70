{{/* Who fetches the model: "job", "pod" (each Triton by itself), or nobody. */}}
{{- define "persona.fetchedBy" -}}
{{- $models := .Values.data.models -}}
{{- $several := or (gt (int .Values.triton.replicas) 1) (ne .Values.autoscaling.kind "none") -}}
{{- if and .Values.model.name (not (hasPrefix "/" .Values.model.name)) (not .Values.data.existingClaim) -}}
{{- if and (eq $models.volume "single") $several -}}
{{- fail "data.models.volume: single is for one replica: take shared (a storage class with ReadWriteMany), ephemeral, or data.existingClaim" -}}
{{- end -}}
{{- if $models.fetch -}}
{{- ternary "job" "pod" (eq $models.volume "shared") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "persona.modelsAccess" -}}
{{- ternary "ReadWriteMany" "ReadWriteOnce" (eq .Values.data.models.volume "shared") -}}
{{- end -}}

{{/* The claim with models: named after all of it that cannot be changed. */}}
{{- define "persona.modelsClaim" -}}
{{- $models := .Values.data.models -}}
{{- $fixed := printf "%s %s %s" $models.size $models.storageClass (include "persona.modelsAccess" .) -}}
{{- default (printf "%s-%s" (include "persona.name" (merge (dict "part" "models") .)) (sha256sum $fixed | trunc 6)) $models.existingClaim -}}
{{- end -}}

{{/* What a claim for models asks for. */}}
{{- define "persona.modelsRequest" -}}
accessModes: [{{ include "persona.modelsAccess" . }}]
{{- with .Values.data.models.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources: { requests: { storage: {{ .Values.data.models.size }} } }
{{- end -}}

{{/* A container that fetches the model, or with "wait" waits for it. */}}
{{- define "persona.fetchContainer" -}}
{{- $hub := .Values.hub -}}
{{- $fetches := not .wait -}}
- name: {{ ternary "fetch-model" "wait-for-model" $fetches }}
  image: {{ include "persona.image" . }}
  imagePullPolicy: {{ .Values.triton.image.pullPolicy }}
  # Resumes what was interrupted, and is done at once if the model is there.
  command:
    - python3
    - scripts/download_models.py
    - {{ .Values.model.name | quote }}
    {{- if .wait }}
    - --wait={{ .Values.data.models.fetchSeconds }}
    {{- end }}
  env:
    - { name: MODEL_CACHE_DIR, value: /data/models }
    - { name: MODEL_REVISION, value: {{ .Values.model.revision | quote }} }
    {{- if $fetches }}
    {{- with $hub.token }}
    - name: HF_TOKEN
      valueFrom: { secretKeyRef: { name: {{ .name }}, key: {{ .key }} } }
    {{- end }}
    {{- if $hub.caConfigMap }}
    - { name: SSL_CERT_FILE, value: /etc/persona/ca/ca.crt }
    {{- end }}
    {{- include "persona.environment" $hub | nindent 4 }}
    {{- end }}
  securityContext: {{- toYaml .Values.security.container | nindent 4 }}
  resources: {{- toYaml $hub.resources | nindent 4 }}
  volumeMounts:
    - { name: models, mountPath: /data/models, readOnly: {{ not $fetches }} }
    - { name: tmp, mountPath: /tmp }
    {{- if and $fetches $hub.caConfigMap }}
    - { name: hub-ca, mountPath: /etc/persona/ca, readOnly: true }
    {{- end }}
{{- end -}}

{{- define "persona.hubVolumes" -}}
{{- with .Values.hub.caConfigMap }}
- name: hub-ca
  configMap: { name: {{ . }} }
{{- end }}
{{- end -}}

{{/* The pod of the Job: it runs where Tritons do, so that the volume is made where they can have it. */}}
{{- define "persona.fetchPod" -}}
restartPolicy: OnFailure
{{ include "persona.scheduling" . }}
containers:
  {{- include "persona.fetchContainer" . | nindent 2 }}
volumes:
  - { name: tmp, emptyDir: {} }
  - name: models
    persistentVolumeClaim: { claimName: {{ include "persona.modelsClaim" . }} }
  {{- include "persona.hubVolumes" . | nindent 2 }}
{{- end -}}
