{{/* Where the shared services are; every container of Tastemaker gets these, the models' too. */}}
{{- define "tastemaker.env" -}}
- name: TASTEMAKER_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ and (not .Values.redis.enabled) .Values.redis.urlSecret.name | default (include "tastemaker.secret" .) }}
      key: {{ ternary "redis-url" .Values.redis.urlSecret.key .Values.redis.enabled }}
- name: MLFLOW_TRACKING_URI
  value: {{ ternary (printf "http://%s-mlflow:5000" (include "tastemaker.fullname" .)) .Values.mlflow.url .Values.mlflow.enabled | quote }}
- name: TASTEMAKER_LAKE_URL
  value: {{ .Values.lake.url | default "/lake" | quote }}
- name: TASTEMAKER_FEAST_REGISTRY
  {{- if .Values.feast.registrySecret.name }}
  valueFrom:
    secretKeyRef: {{- toYaml .Values.feast.registrySecret | nindent 6 }}
  {{- else }}
  value: {{ .Values.feast.registry | default (ternary "/lake/feast/registry.db" (printf "%s/feast/registry.db" .Values.lake.url) (empty .Values.lake.url)) | quote }}
  {{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every pod has: (dict "root" $ "component" "edge" "values" .Values.edge) */}}
{{- define "tastemaker.pod" -}}
serviceAccountName: {{ .account | default (include "tastemaker.serviceAccount" .) }}
automountServiceAccountToken: {{ eq .component "operator" }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
{{- with index $.values $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if and .lake (not .values.affinity) (include "tastemaker.lakeOfOneNode" .root) }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector: {matchLabels: {tastemaker.dev/lake: {{ include "tastemaker.fullname" .root }}}}
{{- end }}
{{- end -}}

{{/* A volume that only one node may use at a time: all its pods have to be there. */}}
{{- define "tastemaker.lakeOfOneNode" -}}
{{- if and (not .Values.lake.url) (not (has "ReadWriteMany" .Values.lake.persistence.accessModes)) }}true{{ end -}}
{{- end -}}

{{/* Volumes of a container with a read-only root: (dict "root" $ "config" true "lake" true) */}}
{{- define "tastemaker.volumes" -}}
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- if .config }}
- name: config
  configMap: {name: {{ include "tastemaker.fullname" .root }}-config}
{{- end }}
{{- if and .lake (not .root.Values.lake.url) }}
- name: lake
  persistentVolumeClaim:
    claimName: {{ .root.Values.lake.persistence.existingClaim | default (printf "%s-lake" (include "tastemaker.fullname" .root)) }}
{{- end }}
{{- end -}}

{{- define "tastemaker.mounts" -}}
- {name: home, mountPath: /var/lib/tastemaker}
- {name: tmp, mountPath: /tmp}
{{- if .config }}
- {name: config, mountPath: /etc/tastemaker/config, readOnly: true}
{{- end }}
{{- if and .lake (not .root.Values.lake.url) }}
- {name: lake, mountPath: /lake}
{{- end }}
{{- end -}}

{{/* What every container has: (dict "root" $ "values" .Values.edge) */}}
{{- define "tastemaker.container" -}}
image: {{ include "tastemaker.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml .values.resources | nindent 2 }}
{{- with .root.Values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Settings of the models' pods: those of all, and where KServe's ranker is. */}}
{{- define "tastemaker.modelsConfig" -}}
{{- $ours := dict -}}
{{- if and .Values.kserve.enabled .Values.kserve.rank -}}
{{- $ours = dict "ranking" (dict "backend" "kserve" "url" (printf "%s-ranker-{version}-predictor:8081" (include "tastemaker.fullname" .))) -}}
{{- end -}}
{{- toYaml (merge (deepCopy .Values.config) $ours) -}}
{{- end -}}
