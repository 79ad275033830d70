{{/* Where a pod runs and as whom; the context has its part and, as pod, that part's values. */}}
{{- define "persona.scheduling" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml .Values.security.pod | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "serviceAccountName" "priorityClassName" "runtimeClassName" }}
{{- with index $.pod $field }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with mergeOverwrite (include "persona.driverAffinity" . | fromYaml) .pod.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Over all nodes as far as possible, or as the values say. */}}
{{- define "persona.spread" -}}
{{- $spread := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $ours := dict "labelSelector" (dict "matchLabels" (include "persona.selector" . | fromYaml)) -}}
{{- range default (list $spread) .pod.topologySpread }}
- {{- merge (deepCopy .) $ours | toYaml | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Nodes whose driver is new enough, or not labelled: of three terms one has to hold. */}}
{{- define "persona.driverAffinity" -}}
{{- if and .pod.gpus .pod.minimumDriver }}
{{- $before := printf "%d" (sub .pod.minimumDriver 1) }}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - { key: nvidia.com/cuda.driver-version.major, operator: Gt, values: [{{ $before | quote }}] }
      - matchExpressions:
          - { key: nvidia.com/cuda.driver.major, operator: Gt, values: [{{ $before | quote }}] }
      - matchExpressions:
          - { key: nvidia.com/cuda.driver-version.major, operator: DoesNotExist }
          - { key: nvidia.com/cuda.driver.major, operator: DoesNotExist }
{{- end }}
{{- end -}}

{{/* Quantities for one GPU, times a replica's GPUs. */}}
{{- define "persona.perGpu" -}}
{{- $times := max 1 (int .gpus) -}}
{{- range $name, $quantity := .quantities }}
{{ $name }}: {{ printf "%d%s" (mul $times (regexFind "^[0-9]+" (toString $quantity))) (regexFind "[A-Za-z]*$" (toString $quantity)) | quote }}
{{- end }}
{{- if .gpus }}
{{ .resource }}: {{ .gpus }}
{{- end }}
{{- end -}}
