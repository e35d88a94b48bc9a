{{/* Egress of a pod: names, Postgres, and as asked: dict "root" $ "lake" bool "kubernetes" bool. */}}
{{- define "snowpack.egress" -}}
{{- $policy := .root.Values.networkPolicy -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- ports:
    {{- range $policy.databasePorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- if .lake }}
- ports:
    {{- range $policy.httpsPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- if and .kubernetes .root.Values.kubernetes.enabled }}
- ports:
    {{- range $policy.kubernetesPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end -}}
