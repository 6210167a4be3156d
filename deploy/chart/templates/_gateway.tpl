{{/* The gateway's container: of its own Deployment, and beside the node of a pool. With: root, health. */}}
{{- define "penstock.gatewayContainer" -}}
{{- $values := .root.Values -}}
{{- $gateway := $values.gateway -}}
{{- $tls := include "penstock.tlsSecret" .root -}}
- name: gateway
  image: {{ .image | default $values.images.gateway }}
  {{- include "penstock.container" (dict "root" .root "health" "gateway-health") | nindent 2 }}
  args:
    - gateway
    - --host=0.0.0.0
    - --port=8001
    - --auth={{ $gateway.auth }}
    {{- if $gateway.insecure }}
    - --insecure
    {{- end }}
    {{- if $tls }}
    - --tls-cert=/etc/penstock/tls/tls.crt
    - --tls-key=/etc/penstock/tls/tls.key
    {{- if $gateway.tls.clientCaSecret }}
    - --tls-client-ca=/etc/penstock/client-ca/{{ $gateway.tls.clientCaKey }}
    - --tls-client-auth={{ $gateway.tls.clientAuth }}
    {{- end }}
    {{- end }}
    - --grpc-front={{ $gateway.front }}
    {{- if $gateway.http }}
    - --http-port=8000
    {{- else }}
    - --no-http
    {{- end }}
    - --metrics-port=8002
    {{- if $gateway.admin }}
    - --admin-host=0.0.0.0
    - --admin-port=8004
    {{- end }}
    - --drain-s={{ $gateway.drainSeconds }}
    {{- if $gateway.maxConnectionAgeSeconds }}
    - --grpc-max-connection-age={{ mul $gateway.maxConnectionAgeSeconds 1000 }}
    {{- end }}
    {{- include "penstock.roleArgs" (dict "root" .root "health" .health) | nindent 4 }}
    {{- range $gateway.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- include "penstock.environment" .root | nindent 2 }}
  ports:
    - { name: grpc, containerPort: 8001 }
    {{- if $gateway.http }}
    - { name: http, containerPort: 8000 }
    {{- end }}
    - { name: metrics, containerPort: 8002 }
    {{- if $gateway.admin }}
    - { name: admin, containerPort: 8004 }
    {{- end }}
    - { name: gateway-health, containerPort: {{ .health }} }
  {{- if gt (int $gateway.preStopSeconds) 0 }}
  lifecycle:
    preStop:
      sleep: { seconds: {{ $gateway.preStopSeconds }} }
  {{- end }}
  resources: {{- toYaml $gateway.resources | nindent 4 }}
  volumeMounts:
    {{- include "penstock.storeMounts" .root | nindent 4 }}
    {{- if $tls }}
    - { name: tls, mountPath: /etc/penstock/tls, readOnly: true }
    {{- if $gateway.tls.clientCaSecret }}
    - { name: client-ca, mountPath: /etc/penstock/client-ca, readOnly: true }
    {{- end }}
    {{- end }}
{{- end }}

{{- define "penstock.gatewayVolumes" -}}
{{- $tls := include "penstock.tlsSecret" . -}}
{{- if $tls }}
- name: tls
  secret: { secretName: {{ $tls }}, defaultMode: 0440 }
{{- with .Values.gateway.tls.clientCaSecret }}
- name: client-ca
  secret: { secretName: {{ . }} }
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.gatewayGrace" -}}
{{ add .Values.gateway.preStopSeconds .Values.gateway.drainSeconds 5 }}
{{- end }}
