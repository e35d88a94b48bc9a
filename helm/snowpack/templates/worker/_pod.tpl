{{/* The entries of worker.pools, each with what it leaves to the values beside it, as JSON. */}}
{{- define "snowpack.worker.pools" -}}
{{- $values := .Values.worker -}}
{{- $job := and .Values.keda.enabled (eq .Values.keda.kind "ScaledJob") -}}
{{- $names := list -}}
{{- $pools := list -}}
{{- range $entry := $values.pools -}}
{{- $pool := dict "name" $entry.name "serves" $entry.serves -}}
{{- range $key := list "slots" "memoryMiB" "cpu" "replicaCount" "minReplicas" "maxReplicas" -}}
{{- $_ := set $pool $key (ternary (get $entry $key) (get $values $key) (hasKey $entry $key)) -}}
{{- end -}}
{{- $names = append $names $entry.name -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{- if ne (len $names) (len (uniq $names)) -}}
{{- fail (printf "worker.pools: each entry needs a name of its own; there are %s" (join ", " $names)) -}}
{{- end -}}
{{- $served := list -}}
{{- range $pools -}}
{{- $served = concat $served .serves -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "worker.pools: %s has minReplicas %v above maxReplicas %v" .name .minReplicas .maxReplicas) -}}
{{- end -}}
{{- if and $job (gt (int .minReplicas) 0) -}}
{{- fail (printf "worker.pools: %s has minReplicas %v; a ScaledJob's workers end when idle, so it must be 0" .name .minReplicas) -}}
{{- end -}}
{{- end -}}
{{- if ne (len $served) (len (uniq $served)) -}}
{{- fail (printf "worker.pools: a pool of the queue belongs to one entry, or its jobs are counted twice; served are %s" (join ", " $served)) -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* The pod of one pool, in a Deployment or a ScaledJob: dict "root" $ "pool" the entry. */}}
{{- define "snowpack.worker.pod" -}}
{{- $root := .root -}}
{{- $full := include "snowpack.fullname" $root -}}
{{- $job := and $root.Values.keda.enabled (eq $root.Values.keda.kind "ScaledJob") -}}
{{- $this := dict "root" $root "component" "worker" "values" $root.Values.worker "pool" .pool.name -}}
metadata:
  {{- $config := include (print $root.Template.BasePath "/worker/configmap.yaml") $root }}
  {{- include "snowpack.podMetadata" (set $this "checksum" (sha256sum $config)) | trim | nindent 2 }}
spec:
  {{- include "snowpack.podSpec" $this | nindent 2 }}
  # What is left after the grace is handed back within 20 seconds, and its Events are sent within 2.
  terminationGracePeriodSeconds: {{ add $root.Values.worker.graceSeconds 30 }}
  {{- if $job }}
  restartPolicy: Never
  {{- end }}
  {{- with include "snowpack.waitForDatabase" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: worker
      {{- include "snowpack.container" $root | nindent 6 }}
      command: [/bin/snowpack-worker]
      envFrom:
        - configMapRef: {name: {{ $full }}-worker}
      env:
        - name: SNOWPACK_WORKER_POOLS
          value: {{ join "," .pool.serves | quote }}
        - name: SNOWPACK_WORKER_SLOTS
          value: {{ .pool.slots | quote }}
        # Three quarters of the limit.
        - name: SNOWPACK_MEMORY_BYTES
          value: {{ mul .pool.memoryMiB 786432 | quote }}
        {{- if $job }}
        - name: SNOWPACK_EXIT_WHEN_IDLE
          value: "true"
        {{- end }}
        {{- include "snowpack.env.database" $root | nindent 8 }}
        {{- with include "snowpack.env.listen" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "snowpack.env.lake" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "snowpack.env.pod" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if and $root.Values.keda.enabled (eq $root.Values.keda.trigger "external-push") }}
        {{- with include "snowpack.env.scalerToken" $root }}
        # For KEDA, which reads it here and shows it to the scaler; the worker does not use it.
        {{- . | nindent 8 }}
        {{- end }}
        {{- end }}
      ports:
        - {name: admin, containerPort: 9090, protocol: TCP}
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
      resources:
        requests: {cpu: {{ .pool.cpu | quote }}, memory: {{ .pool.memoryMiB }}Mi}
        limits: {memory: {{ .pool.memoryMiB }}Mi}
      volumeMounts:
        {{- include "snowpack.mounts" $root | nindent 8 }}
        {{- with include "snowpack.token.mount" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "snowpack.volumes" (dict "root" $root "tmp" $root.Values.worker.tmpSizeLimit) | nindent 4 }}
    {{- with include "snowpack.token.volume" $root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
