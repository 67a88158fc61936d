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

{{- define "tastemaker.devices" -}}
{{- range .devices }} --device {{ . }}{{ end -}}
{{- end -}}

{{- define "tastemaker.trainCommand" -}}
{{- $recipe := hasKey .root.Values.recipes .recipe | ternary (printf "/etc/tastemaker/config/%s.recipe.yaml" .recipe) .recipe -}}
tastemaker train --challenger --recipe {{ $recipe }} --workers {{ .workers }}{{ if .gpu }} --gpu{{ end }}
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
