{{/* One trigger of one pool: dict "root" $ "pool" the entry. A ScaledObject counts what runs, too, and a
busy pod with all its slots: KEDA never scales below the busy pods (but with prometheus, which knows no
workers: there only with one slot each). A ScaledJob counts what waits: its running Jobs are counted by KEDA,
which does not listen to pushes for it. */}}
{{- define "snowpack.worker.trigger" -}}
{{- $keda := .root.Values.keda -}}
{{- $job := eq $keda.kind "ScaledJob" -}}
{{- $count := ternary "ready" "demand" $job -}}
{{- $tls := not (empty .root.Values.scaler.tls.existingSecret) -}}
{{- $host := printf "%s-scaler.%s.svc" (include "snowpack.fullname" .root) .root.Release.Namespace -}}
{{- if eq $keda.trigger "external-push" -}}
- type: {{ ternary "external" "external-push" $job }}
  metadata:
    scalerAddress: {{ $host }}:9092
    lane: snowpack
    pool: {{ join "," .pool.serves | quote }}
    jobsPerWorker: {{ .pool.slots | quote }}
    mode: {{ $count }}
    {{- if $tls }}
    enableTLS: "true"
    {{- end }}
    {{- if .root.Values.scaler.token.existingSecret }}
    tokenFromEnv: SNOWPACK_SCALER_TOKEN
    {{- end }}
{{- else if eq $keda.trigger "metrics-api" -}}
- type: metrics-api
  metadata:
    url: {{ ternary "https" "http" $tls }}://{{ $host }}:9091/v1/lanes/snowpack/ready?pool={{ join "," .pool.serves }}&jobsPerWorker={{ .pool.slots }}
    valueLocation: {{ $count }}
    targetValue: {{ .pool.slots | quote }}
    activationTargetValue: "0"
    {{- $modes := list }}
    {{- if and $tls .root.Values.scaler.tls.caKey }}{{ $modes = append $modes "tls" }}{{ end }}
    {{- if .root.Values.scaler.token.existingSecret }}{{ $modes = append $modes "bearer" }}{{ end }}
    {{- with $modes }}
    authMode: {{ join "," . | quote }}
    {{- end }}
{{- else if eq $keda.trigger "postgresql" -}}
- type: postgresql
  metadata:
    query: {{ include "snowpack.worker.query" . | quote }}
    targetQueryValue: {{ .pool.slots | quote }}
    activationTargetQueryValue: "0"
    {{- if not $keda.postgresql.existingSecret }}
    connectionFromEnv: SNOWPACK_DATABASE_URL
    {{- end }}
{{- else -}}
{{- if gt (len .root.Values.worker.pools) 1 -}}
{{- fail "keda.trigger: prometheus counts all pools together; allowed with one entry in worker.pools" -}}
{{- end -}}
{{- $of := printf "{lane=\"snowpack\",namespace=\"%s\"}" .root.Release.Namespace -}}
- type: prometheus
  metadata:
    serverAddress: {{ $keda.prometheus.serverAddress | quote }}
    {{- if $job }}
    query: {{ printf "max(snowpack_queue_ready%s)" $of | quote }}
    {{- else }}
    query: {{ printf "max(snowpack_queue_ready%s) + max(snowpack_queue_running%s)" $of $of | quote }}
    {{- end }}
    threshold: {{ .pool.slots | quote }}
    activationThreshold: "0"
    # Nothing measured is no zero.
    ignoreNullValues: "false"
{{- end }}
{{- if include "snowpack.worker.authentication" .root }}
  authenticationRef:
    name: {{ include "snowpack.fullname" .root }}-keda
{{- end }}
{{- end -}}

{{/* files/keda.sql for the pools this entry serves and its slots. KEDA itself counts a ScaledJob's
running Jobs. */}}
{{- define "snowpack.worker.query" -}}
{{- $lines := list -}}
{{- range splitList "\n" (.root.Files.Get "files/keda.sql") -}}
{{- if not (or (hasPrefix "--" .) (empty (trim .))) -}}{{- $lines = append $lines (trim .) -}}{{- end -}}
{{- end -}}
{{- $asked := printf "array['%s'] as pools, %v as slots" (join "', '" .pool.serves) .pool.slots -}}
{{- $query := join " " $lines | replace "{lane}" "snowpack" | replace "null::text[] as pools, 1 as slots" $asked -}}
{{- if eq .root.Values.keda.kind "ScaledJob" -}}
{{- $query = $query | replace "depth.demand" "depth.ready" | replace "asked.slots *" "0 *" -}}
{{- end -}}
{{- $query -}}
{{- end -}}

{{/* What KEDA must know besides, as `secretTargetRef` of a TriggerAuthentication; empty: nothing. */}}
{{- define "snowpack.worker.authentication" -}}
{{- $values := .Values -}}
{{- if and (eq $values.keda.trigger "postgresql") $values.keda.postgresql.existingSecret -}}
- parameter: connection
  name: {{ $values.keda.postgresql.existingSecret | quote }}
  key: {{ $values.keda.postgresql.key | quote }}
{{- else if eq $values.keda.trigger "metrics-api" -}}
{{- with $values.scaler.token -}}
{{- if .existingSecret }}
- parameter: token
  name: {{ .existingSecret | quote }}
  key: {{ .key | quote }}
{{- end -}}
{{- end -}}
{{- with $values.scaler.tls -}}
{{- if and .existingSecret .caKey }}
{{- /* KEDA takes a CA here only beside a client's certificate; the scaler asks for none. */}}
{{- range $parameter, $key := dict "ca" .caKey "cert" "tls.crt" "key" "tls.key" }}
- parameter: {{ $parameter }}
  name: {{ $values.scaler.tls.existingSecret | quote }}
  key: {{ $key | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else if and (eq $values.keda.trigger "external-push") $values.scaler.tls.existingSecret $values.scaler.tls.caKey -}}
- parameter: caCert
  name: {{ $values.scaler.tls.existingSecret | quote }}
  key: {{ $values.scaler.tls.caKey | quote }}
{{- end -}}
{{- end -}}
