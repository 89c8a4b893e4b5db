{{- define "registry.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 52 characters at most: what Kubernetes adds to it for a pod's name must fit into 63. */}}
{{- define "registry.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "registry.selector" -}}
app.kubernetes.io/name: {{ include "registry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "registry.labels" -}}
{{ include "registry.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "registry.serviceAccount" -}}
{{- default (.Values.serviceAccount.create | ternary (include "registry.fullname" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{- define "registry.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- /* SQLite and files are one pod's. Whoever says how many, or where else, means the other mode: a registry that comes up
       empty on a volume of its own would be a surprise. */}}
{{- define "registry.refuseScaleOut" -}}
{{- $given := list }}
{{- with .Values.scaleOut }}
{{- if .replicas }}{{ $given = append $given "replicas" }}{{ end }}
{{- if .autoscaling.enabled }}{{ $given = append $given "autoscaling.enabled" }}{{ end }}
{{- if .database.existingSecret }}{{ $given = append $given "database.existingSecret" }}{{ end }}
{{- if .objectStore.url }}{{ $given = append $given "objectStore.url" }}{{ end }}
{{- if .objectStore.existingSecret }}{{ $given = append $given "objectStore.existingSecret" }}{{ end }}
{{- end }}
{{- if $given }}
{{- fail (printf "mode embedded keeps everything on the volume of one pod, and can have no scaleOut.%s: say mode: scale-out, or leave it out" (join ", scaleOut." $given)) }}
{{- end }}
{{- end }}

{{- /* Behind TLS that others have, the registry cannot know that clients came by https. */}}
{{- define "registry.settings" -}}
{{- $derived := dict }}
{{- with .Values.ingress }}
{{- if and .enabled .tls (eq (len .hosts) 1) (not (contains "*" (first .hosts))) }}
{{- $_ := set $derived "public_url" (printf "https://%s" (first .hosts)) }}
{{- end }}
{{- end }}
{{- range $name, $value := merge (deepCopy .Values.settings) $derived }}
- name: {{ printf "FERRO_OCI_%s" (upper $name) }}
  {{- /* Numbers come as floating-point ones, which would be written as 1e+09. */}}
  value: {{ kindIs "float64" $value | ternary (int64 (toString $value | float64)) $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "registry.environment" -}}
- name: FERRO_OCI_LISTEN
  value: 0.0.0.0:8080
- name: FERRO_OCI_SHUTDOWN_SECONDS
  value: {{ .Values.shutdownSeconds | quote }}
{{- if eq .Values.mode "embedded" }}
- name: FERRO_OCI_STORAGE_DIR
  value: /var/lib/ferro-oci-server
{{- else }}
- name: FERRO_OCI_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "scaleOut.database.existingSecret: name the secret that has the URL of PostgreSQL" .Values.scaleOut.database.existingSecret }}
      key: {{ .Values.scaleOut.database.key }}
- name: FERRO_OCI_STORAGE_URL
  value: {{ required "scaleOut.objectStore.url: name the bucket" .Values.scaleOut.objectStore.url | quote }}
{{- end }}
{{- with include "registry.settings" . | trim }}
{{ . }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "registry.pod" -}}
metadata:
  labels:
    {{- include "registry.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "registry.serviceAccount" . }}
  {{- /* It asks nothing of Kubernetes. Workload identities bring tokens of their own. */}}
  automountServiceAccountToken: false
  {{- /* Variables such as REGISTRY_PORT for each service are of no use to it. */}}
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- /* Draining, running requests, and what the last log lines need. */}}
  terminationGracePeriodSeconds: {{ add .Values.drainSeconds .Values.shutdownSeconds 10 }}
  containers:
    - name: registry
      image: {{ include "registry.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        {{- include "registry.environment" . | nindent 8 }}
      {{- $store := and (eq .Values.mode "scale-out") .Values.scaleOut.objectStore.existingSecret }}
      {{- if or $store .Values.extraEnvFrom }}
      envFrom:
        {{- with $store }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- with .Values.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8080
      startupProbe:
        httpGet:
          path: /ready
          port: http
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ .Values.probes.startup.failureThreshold }}
      readinessProbe:
        httpGet:
          path: /ready
          port: http
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- /* Not /ready: starting a pod again mends no database. */}}
      livenessProbe:
        httpGet:
          path: /live
          port: http
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ .Values.drainSeconds | quote }}]
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if eq .Values.mode "embedded" }}
        - name: storage
          mountPath: /var/lib/ferro-oci-server
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- if eq .Values.mode "embedded" }}
    {{- with .Values.embedded.persistence }}
    {{- if not .enabled }}
    - name: storage
      emptyDir: {}
    {{- else if .existingClaim }}
    - name: storage
      persistentVolumeClaim:
        claimName: {{ .existingClaim }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if eq .Values.mode "scale-out" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "registry.selector" . | nindent 10 }}
  {{- end }}
{{- end }}
