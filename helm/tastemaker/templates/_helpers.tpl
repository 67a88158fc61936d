{{/* Names. A Recommender's name is at most 40 characters long: those of its colours' objects go on from it. */}}
{{- define "tastemaker.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tastemaker.selector" -}}
app.kubernetes.io/name: tastemaker
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tastemaker.labels" -}}
{{ include "tastemaker.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* metadata of an object: (dict "root" $ "component" "edge" "name" "edge") */}}
{{- define "tastemaker.metadata" -}}
name: {{ include "tastemaker.fullname" .root }}-{{ .name | default .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "tastemaker.labels" . | nindent 2 }}
{{- end -}}

{{- define "tastemaker.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "tastemaker.secret" -}}
{{- .Values.existingSecret | default (printf "%s-secrets" (include "tastemaker.fullname" .)) -}}
{{- end -}}

{{- define "tastemaker.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create }}{{ include "tastemaker.fullname" .root }}-{{ .component }}{{ else }}{{ .root.Values.serviceAccount.name }}{{ end -}}
{{- end -}}

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

{{/* Refuse what needs a custom resource definition that the cluster lacks: (dict "root" $ "api" "keda.sh/v1alpha1/ScaledObject" "value" "ingest.keda.enabled" "install" "helm install …") */}}
{{- define "tastemaker.needs" -}}
{{- if not (.root.Capabilities.APIVersions.Has .api) -}}
{{- fail (printf "\n%s needs %s, which this cluster does not have. Install it first:\n  %s\n(Without a cluster: helm template --api-versions %s …)" .value .api .install .api) -}}
{{- end -}}
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

{{- define "tastemaker.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{- include "tastemaker.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "tastemaker.fullname" .root }}-{{ .component }}}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .autoscaling.targetCPUUtilizationPercentage }}}
  {{- with .autoscaling.behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Pod template of a job that reads the lake: (dict "root" $ "component" "features" "values" .Values.jobs.features "script" "…") */}}
{{- define "tastemaker.jobTemplate" -}}
{{- $job := merge (dict "config" true "lake" true "account" (include "tastemaker.serviceAccount" (dict "root" .root "component" "jobs"))) . -}}
metadata:
  labels:
    {{- include "tastemaker.selector" . | nindent 4 }}
    tastemaker.dev/lake: {{ include "tastemaker.fullname" .root }}
spec:
  {{- include "tastemaker.pod" $job | nindent 2 }}
  restartPolicy: OnFailure
  containers:
    - name: {{ .component }}
      {{- include "tastemaker.container" $job | nindent 6 }}
      command: [/bin/sh, -ec]
      args:
        - |
          {{- .script | nindent 10 }}
      env:
        - {name: TASTEMAKER_CONFIG, value: /etc/tastemaker/config/tastemaker.yaml}
        {{- include "tastemaker.env" .root | nindent 8 }}
      volumeMounts:
        {{- include "tastemaker.mounts" $job | nindent 8 }}
        - {name: shm, mountPath: /dev/shm}
  volumes:
    {{- include "tastemaker.volumes" $job | nindent 4 }}
    # Ray's object store.
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: 1Gi}
{{- end -}}

{{- define "tastemaker.trainCommand" -}}
tastemaker train --challenger --recipe {{ .recipe }} --workers {{ .workers }}{{ if .gpu }} --gpu{{ end }}
{{- end -}}

{{- define "tastemaker.needsPrometheus" -}}
{{- include "tastemaker.needs" (dict "root" .root "value" .value "api" (printf "monitoring.coreos.com/v1/%s" .kind) "install" "helm install prometheus kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts --namespace monitoring --create-namespace") -}}
{{- end -}}

{{- define "tastemaker.installKubeRay" -}}
helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ --version 1.7.0 --set 'featureGates[0].name=RayCronJob' --set 'featureGates[0].enabled=true'
{{- end -}}

{{/* Pod template of a node of Ray that KubeRay makes for training. KubeRay adds the command and the probes. */}}
{{- define "tastemaker.rayNode" -}}
{{- $resources := .values.resources -}}
{{- if .gpus }}{{ $resources = merge (dict "limits" (dict "nvidia.com/gpu" .gpus)) $resources }}{{ end -}}
metadata:
  labels:
    {{- include "tastemaker.selector" . | nindent 4 }}
    tastemaker.dev/lake: {{ include "tastemaker.fullname" .root }}
spec:
  {{- include "tastemaker.pod" . | nindent 2 }}
  containers:
    - name: {{ .container }}
      {{- include "tastemaker.container" (dict "root" .root "values" (dict "resources" $resources)) | nindent 6 }}
      env:
        - {name: TASTEMAKER_CONFIG, value: /etc/tastemaker/config/tastemaker.yaml}
        {{- include "tastemaker.env" .root | nindent 8 }}
      volumeMounts:
        {{- include "tastemaker.mounts" . | nindent 8 }}
        - {name: shm, mountPath: /dev/shm}
        {{- if .values.sharedClaim }}
        - {name: runs, mountPath: /var/lib/tastemaker/runs}
        {{- end }}
  volumes:
    {{- include "tastemaker.volumes" . | nindent 4 }}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: 1Gi}
    {{- with .values.sharedClaim }}
    - name: runs
      persistentVolumeClaim: {claimName: {{ . }}}
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
