{{- define "lga.name" -}}{{ .Release.Name | trunc 24 | trimSuffix "-" }}{{- end }}

{{- define "lga.labels" -}}
app.kubernetes.io/name: lga
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lga.objectLabels" -}}
{{ include "lga.labels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "lga.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "lga.serviceAccount" -}}{{ .Values.serviceAccount.name | default (include "lga.name" .) }}{{- end }}

{{- define "lga.launcherAccount" -}}{{ .Values.serviceAccount.launcherName | default (printf "%s-launcher" (include "lga.name" .)) }}{{- end }}

{{/* Port that a job's metrics are served on. In a standing cluster the drivers of two jobs share the head. Arguments: root, name. */}}
{{- define "lga.metricsPort" -}}{{ if and (eq .root.Values.mode "cluster") (eq .name "retrain") }}{{ add1 .root.Values.metrics.port }}{{ else }}{{ .root.Values.metrics.port }}{{ end }}{{- end }}

{{- define "lga.command" -}}{{ get (dict "score" "score" "retrain" "train" "compile" "compile") . }}{{- end }}

{{/* What Kubernetes and KubeRay would refuse later and less clearly. */}}
{{- define "lga.check" -}}
{{- if not (regexMatch "^[a-z]" .Release.Name) }}{{ fail (printf "the release %q has to start with a letter: KubeRay names services after it" .Release.Name) }}{{ end }}
{{- $groups := dict }}
{{- $workers := 0 }}
{{- range .Values.ray.workerGroups }}
{{- if hasKey $groups .name }}{{ fail (printf "two worker groups are called %q" .name) }}{{ end }}
{{- $_ := set $groups .name true }}
{{- $workers = add $workers .replicas }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "worker group %s: minReplicas is above maxReplicas" .name) }}{{ end }}
{{- if or (lt (int .replicas) (int .minReplicas)) (gt (int .replicas) (int .maxReplicas)) }}{{ fail (printf "worker group %s: replicas has to lie between minReplicas and maxReplicas" .name) }}{{ end }}
{{- if and (not $.Values.ray.autoscaling) (or (ne (int .replicas) (int .minReplicas)) (ne (int .replicas) (int .maxReplicas))) }}{{ fail (printf "worker group %s: without ray.autoscaling, replicas, minReplicas and maxReplicas have to be the same" .name) }}{{ end }}
{{- end }}
{{- if not $workers }}{{ fail "ray.workerGroups: at least one group needs replicas above 0; a run shares out the workers that are there when it starts" }}{{ end }}
{{- if and .Values.kueueQueue (eq .Values.mode "rayCronJob") }}{{ fail "kueueQueue: KubeRay gives the RayJobs of a RayCronJob no labels, so no queue would admit them; use mode rayJob" }}{{ end }}
{{- range $name, $job := .Values.jobs }}
{{- if $job.enabled }}
{{- $needed := get (dict "score" (list "input" "output" "model") "retrain" (list "manifest" "name") "compile" (list "model")) $name }}
{{- range $needed }}{{ if not (get $job.settings .) }}{{ fail (printf "jobs.%s.settings.%s is needed (or set jobs.%s.enabled to false)" $name . $name) }}{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.allowFrom) }}{{ fail "networkPolicy.allowFrom is empty: KubeRay's operator could not reach the head" }}{{ end }}
{{- end }}

{{/* The settings file of one job: shared settings, then its own section. Arguments: root, name, job. */}}
{{- define "lga.settings" -}}
{{- $own := dict "pipeline" (printf "%s-%s" (include "lga.name" .root) .name) "period_s" .job.periodSeconds "deadline_s" .job.activeDeadlineSeconds }}
{{- if .root.Values.pushgateway }}{{ $_ := set $own "pushgateway" .root.Values.pushgateway }}{{ end }}
{{- if ne .name "compile" }}{{ $own = merge $own (dict "ray_address" "auto" "metrics_port" (include "lga.metricsPort" . | int) "metrics_host" "0.0.0.0" "progress" false) }}{{ end }}
{{- toYaml (merge (dict (include "lga.command" .name) (merge (deepCopy .job.settings) $own)) (deepCopy .root.Values.settings)) }}
{{- end }}

{{- define "lga.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lga.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment, volumes and mounts that each container of the project has. Arguments: root, name (of the job). */}}
{{- define "lga.container" -}}
image: {{ include "lga.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "lga.containerSecurity" .root | nindent 2 }}
env:
  - {name: LGA_CONFIG, value: /etc/lga/{{ .name }}.yaml}
  - {name: HOME, value: /tmp}
  {{- if .launcher }}
  - name: JOB_NAME
    valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
  - name: JOB_UID
    valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']"}}
  - name: NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  {{- end }}
  {{- if and .launcher .root.Values.ray.tokenAuth (eq .root.Values.mode "cluster") }}
  # The operator makes this secret with the cluster.
  - {name: RAY_AUTH_MODE, value: token}
  - name: RAY_AUTH_TOKEN
    valueFrom: {secretKeyRef: {name: {{ include "lga.name" .root }}, key: auth_token}}
  {{- end }}
  {{- with .root.Values.s3.endpoint }}
  - {name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }}}
  {{- end }}
  {{- with .root.Values.s3.region }}
  - {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
  {{- end }}
  {{- with .root.Values.extraEnv }}{{ toYaml . | nindent 2 }}{{ end }}
{{- if or .root.Values.s3.existingSecret .root.Values.extraEnvFrom }}
envFrom:
  {{- with .root.Values.s3.existingSecret }}
  - secretRef: {name: {{ . }}}
  {{- end }}
  {{- with .root.Values.extraEnvFrom }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
volumeMounts:
  - {name: settings, mountPath: /etc/lga, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  - {name: shm, mountPath: /dev/shm}
  {{- if .root.Values.engineCacheClaim }}
  - {name: engines, mountPath: /tmp/lga-cache-1000}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{/* What each pod has. Arguments: root; kubernetes: whether it talks to the API server; account: under which name, if not as a run. */}}
{{- define "lga.pod" -}}
serviceAccountName: {{ .account | default (include "lga.serviceAccount" .root) }}
# Whoever decodes other people's photographs holds no token of the cluster.
automountServiceAccountToken: {{ .kubernetes | default false }}
# Services whose names begin like ours would become variables that look like settings.
enableServiceLinks: false
securityContext: {{- include "lga.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: settings
    configMap: {name: {{ include "lga.name" .root }}-settings}
  - name: tmp
    emptyDir: {sizeLimit: {{ .root.Values.tmpSize }}}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.shmSize }}}
  {{- with .root.Values.engineCacheClaim }}
  - name: engines
    persistentVolumeClaim: {claimName: {{ . }}}
  {{- end }}
  {{- with .root.Values.extraVolumes }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{- define "lga.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "lga.podMetadata" -}}
labels: {{- include "lga.labels" . | nindent 2 }}
  {{- with .Values.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with .Values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* spec of a RayCluster. Arguments: root, name (of the job whose settings the head has). */}}
{{- define "lga.rayCluster" -}}
rayVersion: {{ .root.Values.rayVersion | quote }}
{{- if .root.Values.ray.tokenAuth }}
authOptions: {mode: token}
{{- end }}
enableInTreeAutoscaling: {{ .root.Values.ray.autoscaling }}
{{- if .root.Values.ray.autoscaling }}
autoscalerOptions:
  idleTimeoutSeconds: {{ .root.Values.ray.idleTimeoutSeconds }}
  securityContext: {{- include "lga.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end }}
headGroupSpec:
  # The driver has the head to itself.
  rayStartParams: {num-cpus: "0", dashboard-host: "0.0.0.0"}
  template:
    metadata: {{- include "lga.podMetadata" .root | nindent 6 }}
    spec:
      {{- /* The autoscaler beside it changes the number of workers. */}}
      {{- include "lga.pod" (dict "root" .root "kubernetes" .root.Values.ray.autoscaling) | nindent 6 }}
      {{- with include "lga.placement" .root.Values.ray.head | trim }}{{ . | nindent 6 }}{{ end }}
      containers:
        - name: ray-head
          {{- include "lga.container" . | nindent 10 }}
          ports:
            - {name: gcs-server, containerPort: 6379}
            - {name: dashboard, containerPort: 8265}
            - {name: client, containerPort: 10001}
            - {name: lga-metrics, containerPort: {{ .root.Values.metrics.port }}}
            {{- if eq .root.Values.mode "cluster" }}
            - {name: lga-retrain, containerPort: {{ add1 .root.Values.metrics.port }}}
            {{- end }}
          resources: {{- toYaml .root.Values.ray.head.resources | nindent 12 }}
workerGroupSpecs:
  {{- $arguments := . }}
  {{- range .root.Values.ray.workerGroups }}
  - groupName: {{ .name }}
    replicas: {{ .replicas }}
    minReplicas: {{ .minReplicas }}
    maxReplicas: {{ .maxReplicas }}
    rayStartParams: {}
    template:
      metadata: {{- include "lga.podMetadata" $arguments.root | nindent 8 }}
      spec:
        {{- include "lga.pod" $arguments | nindent 8 }}
        {{- with include "lga.placement" . | trim }}{{ . | nindent 8 }}{{ end }}
        containers:
          - name: ray-worker
            {{- include "lga.container" $arguments | nindent 12 }}
            resources: {{- toYaml .resources | nindent 14 }}
  {{- end }}
{{- end }}

{{/* spec of a RayJob. Arguments: root, name, job. */}}
{{- define "lga.rayJob" -}}
entrypoint: python -m workers {{ include "lga.command" .name }}
submissionMode: HTTPMode
backoffLimit: {{ .job.backoffLimit }}
activeDeadlineSeconds: {{ .job.activeDeadlineSeconds }}
preRunningDeadlineSeconds: {{ .root.Values.ray.preRunningDeadlineSeconds }}
shutdownAfterJobFinishes: true
ttlSecondsAfterFinished: {{ .root.Values.ray.ttlSecondsAfterFinished }}
rayClusterSpec: {{- include "lga.rayCluster" . | nindent 2 }}
{{- end }}

{{/* A RayJob as the launcher creates it; the launcher fills in the name. */}}
{{- define "lga.rayJobObject" -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  labels: {{- include "lga.labels" .root | nindent 4 }}
    lga/job: {{ .name }}
    {{- with .root.Values.kueueQueue }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
spec: {{- include "lga.rayJob" . | nindent 2 }}
{{- end }}
