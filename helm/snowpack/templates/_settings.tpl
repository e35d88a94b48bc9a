{{/* Settings of the programs. What is secret comes from Secrets, as variables of a container;
everything else is in one ConfigMap for each component. The names are the programs' own. */}}

{{/* A dict of names and values as lines of a ConfigMap. Nothing, and an empty text, leave the program's default. */}}
{{- define "snowpack.lines" -}}
{{- $lines := list -}}
{{- range $name, $value := . -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) -}}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) -}}
{{- $value = int64 $value -}}
{{- end -}}
{{- $lines = append $lines (printf "%s: %s" $name (toString $value | quote)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{/* Texts of lines, one below the other. */}}
{{- define "snowpack.join" -}}
{{- compact . | join "\n" -}}
{{- end -}}

{{- define "snowpack.settings.common" -}}
{{- include "snowpack.lines" (dict
  "SNOWPACK_LOG" .Values.log.level
  "SNOWPACK_LOG_FORMAT" .Values.log.format
  "SNOWPACK_PG_CONNECTIONS_MAX" .Values.database.connectionsMax
  "SNOWPACK_START_SECONDS" .Values.database.startSeconds
) }}
{{- end -}}

{{- define "snowpack.settings.lake" -}}
{{- include "snowpack.lines" (dict
  "SNOWPACK_CATALOG_TYPE" .Values.catalog.type
  "SNOWPACK_CATALOG_NAME" .Values.catalog.name
  "SNOWPACK_CATALOG_OAUTH2_URI" .Values.catalog.oauth2Uri
  "SNOWPACK_CATALOG_SCOPE" .Values.catalog.scope
  "SNOWPACK_CATALOG_WAREHOUSE" .Values.catalog.warehouse
  "SNOWPACK_WAREHOUSE" .Values.storage.warehouse
  "SNOWPACK_LOCATIONS" (join "," .Values.storage.locations)
  "SNOWPACK_S3_ENDPOINT" .Values.storage.s3.endpoint
  "SNOWPACK_S3_REGION" .Values.storage.s3.region
  "SNOWPACK_S3_PATH_STYLE" .Values.storage.s3.pathStyle
) }}
{{- end -}}

{{- define "snowpack.settings.policy" -}}
{{- include "snowpack.lines" (dict
  "SNOWPACK_ENROLMENT" .Values.policy.enrolment
  "SNOWPACK_CADENCE_HOURS" .Values.policy.cadenceHours
  "SNOWPACK_TARGET_FILE_SIZE_BYTES" .Values.policy.targetFileSizeBytes
  "SNOWPACK_MAX_SNAPSHOT_AGE_DAYS" .Values.policy.maxSnapshotAgeDays
  "SNOWPACK_MIN_INPUT_FILES" .Values.policy.minInputFiles
  "SNOWPACK_REWRITE_DATA_DELETE_FILE_THRESHOLD" .Values.policy.rewriteDataDeleteFileThreshold
  "SNOWPACK_REWRITE_DATA_DELETE_RATIO_THRESHOLD" .Values.policy.rewriteDataDeleteRatioThreshold
  "SNOWPACK_PARTIAL_PROGRESS_MAX_COMMITS" .Values.policy.partialProgressMaxCommits
) }}
{{- end -}}

{{- define "snowpack.settings.budget" -}}
{{- include "snowpack.lines" (dict
  "SNOWPACK_JOBS_MAX_PER_RUN" .Values.budget.jobsMaxPerRun
  "SNOWPACK_JOBS_MAX_PER_DATABASE" .Values.budget.jobsMaxPerDatabase
  "SNOWPACK_JOBS_MAX_LIVE" .Values.budget.jobsMaxLive
  "SNOWPACK_GB_HOURS_MAX_PER_RUN" .Values.budget.gbHoursMaxPerRun
) }}
{{- end -}}

{{- define "snowpack.settings.health" -}}
{{- include "snowpack.lines" (dict
  "SNOWPACK_HEALTH_CONCURRENCY" .Values.healthSync.concurrency
  "SNOWPACK_HEALTH_TABLE_SECONDS" .Values.healthSync.tableSeconds
  "SNOWPACK_HEALTH_DEADLINE_SECONDS" .Values.healthSync.deadlineSeconds
) }}
{{- end -}}

{{/* Secrets, as variables of a container. */}}
{{- define "snowpack.env.database" -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_DATABASE_URL" "secret" .Values.database.existingSecret "key" .Values.database.urlKey) }}
{{- end -}}

{{- define "snowpack.env.listen" -}}
{{- with .Values.database -}}
{{- if .listenUrlKey -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_LISTEN_URL" "secret" .existingSecret "key" .listenUrlKey) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "snowpack.env.log" -}}
- name: SNOWPACK_LOG
  value: {{ .Values.log.level | quote }}
- name: SNOWPACK_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- end -}}

{{- define "snowpack.env.lake" -}}
{{- with .Values.catalog -}}
{{- if .existingSecret -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_CATALOG_URI" "secret" .existingSecret "key" .uriKey) }}
{{ if .tokenKey -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_CATALOG_TOKEN" "secret" .existingSecret "key" .tokenKey) }}
{{ end -}}
{{- if .credentialKey -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_CATALOG_CREDENTIAL" "secret" .existingSecret "key" .credentialKey) }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.storage.s3 -}}
{{- if .existingSecret -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_S3_ACCESS_KEY_ID" "secret" .existingSecret "key" .accessKeyIdKey) }}
{{ include "snowpack.secretEnv" (dict "name" "SNOWPACK_S3_SECRET_ACCESS_KEY" "secret" .existingSecret "key" .secretAccessKeyKey) }}
{{ if .sessionTokenKey -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_S3_SESSION_TOKEN" "secret" .existingSecret "key" .sessionTokenKey) }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "snowpack.env.scalerToken" -}}
{{- with .Values.scaler.token -}}
{{- if .existingSecret -}}
{{- include "snowpack.secretEnv" (dict "name" "SNOWPACK_SCALER_TOKEN" "secret" .existingSecret "key" .key) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Who the pod is, for programs that talk to the API server. */}}
{{- define "snowpack.env.pod" -}}
{{- if .Values.kubernetes.enabled -}}
- name: SNOWPACK_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: SNOWPACK_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: SNOWPACK_POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- end -}}
{{- end -}}
