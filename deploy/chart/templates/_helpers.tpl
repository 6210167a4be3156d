{{/* Names, labels, and what all Pods have in common. */}}

{{- define "penstock.name" -}}
{{- if contains "penstock" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-penstock" (.Release.Name | trunc 31 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "penstock.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "penstock.name" .) }}
{{- end }}

{{/* Selectors have no version: they cannot change. */}}
{{- define "penstock.selector" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "penstock.labels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Of a Pod. With: root, own (its section of the values), graceSeconds, shareProcesses, volumes. */}}
{{- define "penstock.podSpec" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ include "penstock.serviceAccount" .root }}
automountServiceAccountToken: false
# Other Services' addresses in the environment are no settings.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .graceSeconds }}
{{- if .shareProcesses }}
# Gateway and node see each other: requests go past the store, large payloads are not copied.
shareProcessNamespace: true
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with $values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .own.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "penstock.selector" .root | nindent 8 }}
        {{- .labels | nindent 8 }}
{{- end }}

{{/* Of a container. With: root, own. */}}
{{- define "penstock.container" -}}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
command: [penstock]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
livenessProbe:
  httpGet: { path: /livez, port: {{ .health | default "health" }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: {{ .health | default "health" }} }
  periodSeconds: 2
  timeoutSeconds: 2
startupProbe:
  httpGet: { path: /livez, port: {{ .health | default "health" }} }
  periodSeconds: 1
  failureThreshold: 60
{{- end }}

{{- define "penstock.environment" -}}
env:
  - name: PENSTOCK_REDIS
    valueFrom:
      secretKeyRef: { name: {{ .Values.redis.secret }}, key: {{ .Values.redis.key }} }
  {{- if .Values.redis.caSecret }}
  - { name: PENSTOCK_REDIS_CA, value: /etc/penstock/redis-ca/{{ .Values.redis.caKey }} }
  {{- end }}
  {{- if .Values.redis.passwordSecret }}
  - { name: PENSTOCK_REDIS_PASSWORD_FILE, value: /etc/penstock/redis-password/{{ .Values.redis.passwordKey }} }
  {{- end }}
  - { name: HOME, value: /tmp }
{{- end }}

{{/* What every role is told. With: root, health (a number). */}}
{{- define "penstock.roleArgs" -}}
- --log-json
- --log-level={{ .root.Values.logLevel }}
- --health-host=0.0.0.0
- --health-port={{ .health | default 8003 }}
{{- end }}

{{/* Where other Pods' workers reach those of this one. */}}
{{- define "penstock.hopArgs" -}}
{{- if .Values.hops.enabled }}
- --hop-ports={{ .Values.hops.firstPort }}-{{ .Values.hops.lastPort }}
- --hop-cert=/etc/penstock/hops/tls.crt
- --hop-key=/etc/penstock/hops/tls.key
- --hop-ca=/etc/penstock/hops/ca.crt
- --hop-name={{ .Values.hops.name }}
{{- end }}
{{- end }}

{{- define "penstock.hopLabels" -}}
{{- if .Values.hops.enabled }}
penstock.dev/hops: "true"
{{- end }}
{{- end }}

{{/* A range has no place in a container's ports: the first stands for all. */}}
{{- define "penstock.hopPorts" -}}
{{- if .Values.hops.enabled }}
- { name: hops, containerPort: {{ .Values.hops.firstPort }} }
{{- end }}
{{- end }}

{{- define "penstock.hopEnvironment" -}}
{{- if .Values.hops.enabled }}
- name: PENSTOCK_HOP_HOST
  valueFrom:
    fieldRef: { fieldPath: status.podIP }
{{- end }}
{{- end }}

{{- define "penstock.hopMounts" -}}
{{- if .Values.hops.enabled }}
- { name: hops, mountPath: /etc/penstock/hops, readOnly: true }
{{- end }}
{{- end }}

{{- define "penstock.hopVolumes" -}}
{{- if .Values.hops.enabled }}
- name: hops
  secret: { secretName: {{ .Values.hops.secret }} }
{{- end }}
{{- end }}

{{- define "penstock.storeMounts" -}}
{{- if .Values.redis.caSecret }}
- { name: redis-ca, mountPath: /etc/penstock/redis-ca, readOnly: true }
{{- end }}
{{- if .Values.redis.passwordSecret }}
- { name: redis-password, mountPath: /etc/penstock/redis-password, readOnly: true }
{{- end }}
- { name: tmp, mountPath: /tmp }
{{- end }}

{{- define "penstock.storeVolumes" -}}
{{- with .Values.redis.caSecret }}
- name: redis-ca
  secret: { secretName: {{ . }} }
{{- end }}
{{- with .Values.redis.passwordSecret }}
- name: redis-password
  secret: { secretName: {{ . }} }
{{- end }}
- name: tmp
  emptyDir: { sizeLimit: 256Mi }
{{- end }}

{{- define "penstock.modelsMount" -}}
- { name: models, mountPath: /models, readOnly: true }
{{- end }}

{{- define "penstock.modelsVolume" -}}
- name: models
{{- if .Values.models.claim }}
  persistentVolumeClaim: { claimName: {{ .Values.models.claim }}, readOnly: true }
{{- else }}
  image: { reference: {{ .Values.models.image }}, pullPolicy: {{ .Values.images.pullPolicy }} }
{{- end }}
{{- end }}

{{- define "penstock.sharedMemory" -}}
- name: shm
  emptyDir: { medium: Memory, sizeLimit: {{ .shmMib | default 512 }}Mi }
{{- end }}

{{/* A pool's resources, with its GPUs. */}}
{{- define "penstock.resources" -}}
{{- $resources := deepCopy (.resources | default dict) -}}
{{- if gt (int (.gpus | default 0)) 0 -}}
{{- $limits := merge (dict (.gpuResource | default "nvidia.com/gpu") (int .gpus)) ($resources.limits | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
resources: {{- toYaml $resources | nindent 2 }}
{{- end }}

{{- define "penstock.tlsSecret" -}}
{{- if .Values.gateway.tls.secret }}{{ .Values.gateway.tls.secret }}
{{- else if .Values.gateway.tls.certManager.issuer }}{{ include "penstock.name" . }}-gateway-tls
{{- end }}
{{- end }}
