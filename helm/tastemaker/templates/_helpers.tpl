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

{{/* Refuse what needs a custom resource definition that the cluster lacks: (dict "root" $ "api" "keda.sh/v1alpha1/ScaledObject" "value" "ingest.keda.enabled" "install" "helm install …") */}}
{{- define "tastemaker.needs" -}}
{{- if not (.root.Capabilities.APIVersions.Has .api) -}}
{{- fail (printf "\n%s needs %s, which this cluster does not have. Install it first:\n  %s\n(Without a cluster: helm template --api-versions %s …)" .value .api .install .api) -}}
{{- end -}}
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

{{- define "tastemaker.needsPrometheus" -}}
{{- include "tastemaker.needs" (dict "root" .root "value" .value "api" (printf "monitoring.coreos.com/v1/%s" .kind) "install" "helm install prometheus kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts --namespace monitoring --create-namespace") -}}
{{- end -}}

{{- define "tastemaker.installKubeRay" -}}
helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ --version 1.7.0 --set 'featureGates[0].name=RayCronJob' --set 'featureGates[0].enabled=true'
{{- end -}}
