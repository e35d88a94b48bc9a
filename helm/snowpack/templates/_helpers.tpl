{{/* Names. The longest suffix is -orchestrator, of a CronJob, whose name has at most 52 letters. */}}
{{- define "snowpack.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "snowpack.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- /* A release may have dots in its name; a Service may not. */ -}}
{{- $full = replace "." "-" $full -}}
{{- if le (len $full) 39 -}}
{{- $full -}}
{{- else -}}
{{- printf "%s-%s" (trunc 30 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- end -}}
{{- end -}}

{{- define "snowpack.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret | quote }}
      key: {{ .key | quote }}
{{- end -}}

{{/* Labels: dict "root" $ "component" "api". Selectors never change; workers have `pool` besides. */}}
{{- define "snowpack.selectorLabels" -}}
app.kubernetes.io/name: {{ include "snowpack.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
snowpack/pool: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "snowpack.labels" -}}
{{ include "snowpack.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimAll "._-" | quote }}
app.kubernetes.io/part-of: snowpack
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "snowpack.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* dict "root" $ "component" "api" "values" .Values.api */}}
{{- define "snowpack.serviceAccountName" -}}
{{- .values.serviceAccount.name | default (printf "%s-%s" (include "snowpack.fullname" .root) .component) -}}
{{- end -}}

{{/* The service account of a component, unless somebody else made it; "hook" for a hook's annotations. */}}
{{- define "snowpack.serviceAccount" -}}
{{- if not .values.serviceAccount.name -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "snowpack.serviceAccountName" . | quote }}
  labels:
    {{- include "snowpack.labels" . | nindent 4 }}
  {{- with merge (dict) .values.serviceAccount.annotations (.hook | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{/* Metadata of a pod: dict "root" "component" "values", "pool" of a worker, "checksum" of its configuration. */}}
{{- define "snowpack.podMetadata" -}}
{{- $annotations := merge (dict) .values.podAnnotations -}}
{{- with .checksum -}}
{{- $_ := set $annotations "checksum/config" . -}}
{{- end -}}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- include "snowpack.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What every pod's spec has: dict "root" "component" "values", "account" when it runs as another component.
Who talks to the API server mounts a token of its own: see `snowpack.token.mount`. */}}
{{- define "snowpack.podSpec" -}}
serviceAccountName: {{ .account | default (include "snowpack.serviceAccountName" .) | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints | default .spread }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What every container has. */}}
{{- define "snowpack.container" -}}
image: {{ include "snowpack.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The service account's token, for the one container of a pod that talks to the API server. */}}
{{- define "snowpack.token.mount" -}}
{{- if .Values.kubernetes.enabled }}
- name: kube-api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
{{- end -}}

{{- define "snowpack.token.volume" -}}
{{- if .Values.kubernetes.enabled }}
- name: kube-api-access
  projected:
    sources:
      - serviceAccountToken: {path: token}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}
{{- end -}}

{{- define "snowpack.waitForDatabase" -}}
{{- if .Values.waitForDatabase.enabled -}}
initContainers:
  - name: wait-for-db
    {{- include "snowpack.container" . | nindent 4 }}
    command: [/bin/snowpack-api, wait-for-db]
    args: ["--timeout={{ .Values.waitForDatabase.timeoutSeconds }}"]
    env:
      {{- include "snowpack.env.database" . | nindent 6 }}
      {{- include "snowpack.env.log" . | nindent 6 }}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 64Mi}
{{- end -}}
{{- end -}}

{{/* /tmp, and the warehouse where it is a volume: mounts and volumes. */}}
{{- define "snowpack.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.storage.volume.existingClaim }}
- name: warehouse
  mountPath: {{ .Values.storage.volume.mountPath | quote }}
{{- end }}
{{- end -}}

{{- define "snowpack.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmp | default "64Mi" }}
{{- with .root.Values.storage.volume.existingClaim }}
- name: warehouse
  persistentVolumeClaim:
    claimName: {{ . | quote }}
{{- end }}
{{- end -}}
