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

{{/* What Kubernetes, KubeRay and Kueue would refuse later and less clearly. */}}
{{- define "lga.check" -}}
{{- if not (regexMatch "^[a-z]" .Release.Name) }}{{ fail (printf "the release %q has to start with a letter: KubeRay names services after it" .Release.Name) }}{{ end }}
{{- if and .Values.kueueQueue (eq .Values.mode "rayCronJob") }}{{ fail "kueueQueue: KubeRay gives the RayJobs of a RayCronJob no labels, so no queue would admit them; use mode rayJob" }}{{ end }}
{{- if eq .Values.mode "cluster" }}{{ include "lga.checkRay" (dict "root" . "ray" .Values.ray "where" "ray") }}{{ end }}
{{- range $name, $job := .Values.jobs }}
{{- if $job.enabled }}
{{- if and (eq $.Values.mode "cluster") $job.ray }}{{ fail (printf "jobs.%s.ray: with mode cluster all jobs run on the one cluster that `ray` describes" $name) }}{{ end }}
{{- if and (ne $.Values.mode "cluster") (ne $name "compile") }}
{{- include "lga.checkRay" (dict "root" $ "ray" (mergeOverwrite (deepCopy $.Values.ray) (deepCopy $job.ray)) "where" (ternary (printf "jobs.%s.ray" $name) "ray" (not (empty $job.ray)))) }}
{{- end }}
{{- $given := merge (deepCopy $job.settings) (deepCopy $.Values.settings) }}
{{- $needed := get (dict "score" (list "input" "output" "model") "retrain" (list "manifest" "name" "registry" "output") "compile" (list "model")) $name }}
{{- /* NAME:VERSION and NAME@ALIAS are looked up. */}}
{{- if not (contains "/" ($given.model | default "")) }}{{ $needed = append $needed "registry" }}{{ end }}
{{- range $needed }}{{ if not (get $given .) }}{{ fail (printf "jobs.%s.settings.%s is needed (or set jobs.%s.enabled to false); what a pod keeps for itself is lost with it" $name . $name) }}{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.allowFrom) }}{{ fail "networkPolicy.allowFrom is empty: KubeRay's operator could not reach the head" }}{{ end }}
{{- end }}

{{/* One cluster that will be made. Arguments: root; ray: what it is like; where: the value that says so. */}}
{{- define "lga.checkRay" -}}
{{- $groups := dict }}
{{- $workers := 0 }}
{{- range .ray.workerGroups }}
{{- if hasKey $groups .name }}{{ fail (printf "%s: two worker groups are called %q" $.where .name) }}{{ end }}
{{- if eq .name "head" }}{{ fail (printf "%s: a worker group cannot be called head: that is the group of Ray's head" $.where) }}{{ end }}
{{- $_ := set $groups .name true }}
{{- $workers = add $workers .replicas }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "%s: worker group %s: minReplicas is above maxReplicas" $.where .name) }}{{ end }}
{{- if or (lt (int .replicas) (int .minReplicas)) (gt (int .replicas) (int .maxReplicas)) }}{{ fail (printf "%s: worker group %s: replicas has to lie between minReplicas and maxReplicas" $.where .name) }}{{ end }}
{{- if and (not $.ray.autoscaling) (or (ne (int .replicas) (int .minReplicas)) (ne (int .replicas) (int .maxReplicas))) }}{{ fail (printf "%s: worker group %s: without autoscaling, replicas, minReplicas and maxReplicas have to be the same" $.where .name) }}{{ end }}
{{- end }}
{{- if not $workers }}{{ fail (printf "%s.workerGroups: at least one group needs replicas above 0; a run shares out the workers that are there when it starts" .where) }}{{ end }}
{{- if and .root.Values.kueueQueue .ray.autoscaling }}{{ fail (printf "%s.autoscaling: Kueue admits no cluster that changes its size; set it to false, or leave kueueQueue empty" .where) }}{{ end }}
{{- end }}

{{/* The settings file of one job: shared settings, then its own section. Arguments: root, name, job. */}}
{{- define "lga.settings" -}}
{{- $own := dict "pipeline" (printf "%s-%s" (include "lga.name" .root) .name) "deadline_s" (int64 .job.activeDeadlineSeconds) }}
{{- /* What is suspended is not missed. */}}
{{- if not .job.suspend }}{{ $_ := set $own "period_s" (int64 .job.periodSeconds) }}{{ end }}
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

{{/* Environment and mounts that each container of the project has. Arguments: root; name: of the job, if it has one; launcher. */}}
{{- define "lga.container" -}}
image: {{ include "lga.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "lga.containerSecurity" .root | nindent 2 }}
env:
  - {name: HOME, value: /tmp}
  {{- with .name }}
  - {name: LGA_CONFIG, value: /etc/lga/{{ . }}.yaml}
  {{- end }}
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

{{/* What each pod has. Arguments: root; resources: of its container; kubernetes: whether it talks to the API server; account: under which name, if not as a run. */}}
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
    # As large as the memory of the container: where three tenths of it do not fit here, Ray keeps its objects on a disk.
    emptyDir: {medium: Memory{{ with dig "limits" "memory" (dig "requests" "memory" "" .resources) .resources }}, sizeLimit: {{ . }}{{ end }}}
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

{{/* spec of a RayCluster. Arguments: root; ray: what it is like; name: of the job, where it is made for one. */}}
{{- define "lga.rayCluster" -}}
rayVersion: {{ .root.Values.rayVersion | quote }}
{{- if .ray.tokenAuth }}
authOptions: {mode: token}
{{- end }}
enableInTreeAutoscaling: {{ .ray.autoscaling }}
{{- if .ray.autoscaling }}
autoscalerOptions:
  idleTimeoutSeconds: {{ int64 .ray.idleTimeoutSeconds }}
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
      {{- include "lga.pod" (dict "root" .root "resources" .ray.head.resources "kubernetes" .ray.autoscaling) | nindent 6 }}
      {{- with include "lga.placement" .ray.head | trim }}{{ . | nindent 6 }}{{ end }}
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
          resources: {{- toYaml .ray.head.resources | nindent 12 }}
workerGroupSpecs:
  {{- $arguments := . }}
  {{- range .ray.workerGroups }}
  - groupName: {{ .name }}
    replicas: {{ .replicas }}
    minReplicas: {{ .minReplicas }}
    maxReplicas: {{ .maxReplicas }}
    rayStartParams: {}
    template:
      metadata: {{- include "lga.podMetadata" $arguments.root | nindent 8 }}
      spec:
        {{- include "lga.pod" (dict "root" $arguments.root "resources" .resources) | nindent 8 }}
        {{- with include "lga.placement" . | trim }}{{ . | nindent 8 }}{{ end }}
        containers:
          - name: ray-worker
            {{- include "lga.container" $arguments | nindent 12 }}
            resources: {{- toYaml .resources | nindent 14 }}
  {{- end }}
{{- end }}

{{/* The command of a job and, for training, the name of its run: a new start of one that failed continues it. Arguments: name, job; run: what is unique to the start. */}}
{{- define "lga.words" -}}
{{ include "lga.command" .name }}{{ if and (eq .name "retrain") (not .job.settings.run) }} --run {{ .run }}{{ end }}
{{- end }}

{{/* spec of a RayJob. Arguments: root, name, job; run: as above. */}}
{{- define "lga.rayJob" -}}
{{- $ray := mergeOverwrite (deepCopy .root.Values.ray) (deepCopy .job.ray) }}
entrypoint: python -m workers {{ include "lga.words" . }}
submissionMode: HTTPMode
backoffLimit: {{ int64 .job.backoffLimit }}
activeDeadlineSeconds: {{ int64 .job.activeDeadlineSeconds }}
preRunningDeadlineSeconds: {{ int64 $ray.preRunningDeadlineSeconds }}
shutdownAfterJobFinishes: true
ttlSecondsAfterFinished: {{ int64 $ray.ttlSecondsAfterFinished }}
rayClusterSpec: {{- include "lga.rayCluster" (dict "root" .root "ray" $ray "name" .name) | nindent 2 }}
{{- end }}

{{/* A RayJob as the launcher creates it; the launcher fills in the name, and the $(JOB_UID) of the run. Arguments: root, name, job. */}}
{{- define "lga.rayJobObject" -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  labels: {{- include "lga.labels" .root | nindent 4 }}
    lga/job: {{ .name }}
    {{- with .root.Values.kueueQueue }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
spec: {{- include "lga.rayJob" (merge (dict "run" "retrain-$(JOB_UID)") .) | nindent 2 }}
{{- end }}
