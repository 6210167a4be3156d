{{/* What the schema cannot say: values that do not go together. Each says what to do. */}}
{{- define "penstock.checks" -}}
{{- $gateway := .Values.gateway -}}
{{- $tls := $gateway.tls -}}
{{- if not .Values.redis.secret }}
{{- fail "redis.secret: name the Secret that holds the store's URL: kubectl create secret generic penstock-redis --from-literal=url=redis://..., and redis.secret=penstock-redis" }}
{{- end }}
{{- if and (not .Values.models.claim) (not .Values.models.image) }}
{{- fail "models.claim: name the PersistentVolumeClaim that holds the model repository, or give models.image" }}
{{- end }}
{{- if and .Values.models.claim .Values.models.image }}
{{- fail "models.claim and models.image: there is one model repository; give one of the two" }}
{{- end }}
{{- if and $tls.secret $tls.certManager.issuer }}
{{- fail "gateway.tls.secret and gateway.tls.certManager.issuer: the certificate comes from one of the two; give one" }}
{{- end }}
{{- if not (or $tls.secret $tls.certManager.issuer $gateway.insecure) }}
{{- fail "gateway.tls.secret: name a Secret of type kubernetes.io/tls, or give gateway.tls.certManager.issuer; or say gateway.insecure=true, where nobody else reaches this network" }}
{{- end }}
{{- if and (not $gateway.insecure) (eq $gateway.auth "none") (not $tls.clientCaSecret) }}
{{- fail "gateway.auth=none: everybody could call the gateways; say auth: keys, give gateway.tls.clientCaSecret, or say gateway.insecure=true" }}
{{- end }}
{{- if and (not $gateway.insecure) (eq $gateway.auth "auto") (not $tls.clientCaSecret) }}
{{- fail "gateway.auth=auto: everybody could call the gateways until there is a key; say auth: keys, or give gateway.tls.clientCaSecret" }}
{{- end }}
{{- if and $tls.clientCaSecret (eq $tls.clientAuth "optional") (ne $gateway.front "asgi") }}
{{- fail "gateway.tls.clientAuth=optional: only the front asgi can ask without insisting; say gateway.front=asgi, or clientAuth: required" }}
{{- end }}
{{- if and $tls.clientCaSecret (not (or $tls.secret $tls.certManager.issuer)) }}
{{- fail "gateway.tls.clientCaSecret: clients can only prove who they are over TLS; give gateway.tls.secret or gateway.tls.certManager.issuer" }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled (eq $gateway.auth "keys") (not .Values.monitoring.podMonitor.tokenSecret) }}
{{- fail "monitoring.podMonitor.tokenSecret: gateways show metrics to keys of the scope read; make one (penstock keys create monitoring --scope read), put it in a Secret, and name that" }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled $tls.clientCaSecret (eq $tls.clientAuth "required") (not .Values.monitoring.podMonitor.certSecret) }}
{{- fail "monitoring.podMonitor.certSecret: gateways ask everybody for a certificate, Prometheus too; name the Secret with its own" }}
{{- end }}
{{- if and $gateway.admin .Values.networkPolicy.enabled (not .Values.networkPolicy.admins) }}
{{- fail "gateway.admin: the network lets nobody reach it; say who may in networkPolicy.admins, as in [{ podSelector: { matchLabels: { role: admin } } }]" }}
{{- end }}
{{- if and $gateway.autoscaling.enabled (gt (int $gateway.autoscaling.minReplicas) (int $gateway.autoscaling.maxReplicas)) }}
{{- fail "gateway.autoscaling: minReplicas is larger than maxReplicas; change one" }}
{{- end }}
{{- if and $gateway.maxConnectionAgeSeconds (lt (int (mul 10 $gateway.preStopSeconds)) (int (add 50 (mul 11 $gateway.maxConnectionAgeSeconds)))) }}
{{- fail (printf "gateway.preStopSeconds: connections live for %d s, and those that are open when a Pod is to end must be over before it does; say at least %d" (int $gateway.maxConnectionAgeSeconds) (int (add 5 (div (add 9 (mul 11 $gateway.maxConnectionAgeSeconds)) 10)))) }}
{{- end }}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- fail "serviceAccount.name: with create=false, name the one that is there" }}
{{- end }}
{{- if and .Values.hops.enabled (not (and .Values.hops.secret .Values.hops.name)) }}
{{- fail "hops.secret and hops.name: workers in different Pods prove who they are; name the Secret with tls.crt, tls.key and ca.crt, and a name that its certificate has" }}
{{- end }}
{{- if and .Values.hops.enabled (gt (int .Values.hops.firstPort) (int .Values.hops.lastPort)) }}
{{- fail "hops: firstPort is larger than lastPort; change one" }}
{{- end }}
{{- $names := dict }}
{{- range concat .Values.nodePools .Values.dedicated }}
{{- if hasKey $names .name }}
{{- fail (printf "nodePools and dedicated: %s is there twice; each needs a name of its own" .name) }}
{{- end }}
{{- if has .name (list "gateway" "scheduler") }}
{{- fail (printf "nodePools and dedicated: %s is the name of a role; choose another" .name) }}
{{- end }}
{{- $_ := set $names .name true }}
{{- end }}
{{- end }}
