# KEDA's operator and metrics adapter as processes of the host, where its own chart makes them pods; of
# others, whose kinds our chart makes too, the kinds alone.
mkdir "$state/keda"
cp "$pki/ca.crt" "$state/keda/ca.crt"
cp "$pki/keda.crt" "$state/keda/tls.crt"
cp "$pki/keda.key" "$state/keda/tls.key"
kubectl apply --server-side --filename "$tools/keda.yaml" --filename "$tools/kinds.yaml" >/dev/null
kubectl apply --filename - >/dev/null <<Y
apiVersion: v1
kind: Namespace
metadata: {name: keda}
---
apiVersion: v1
kind: Service
metadata: {name: keda-metrics-apiserver, namespace: keda}
spec: {ports: [{name: https, port: 443, targetPort: 16443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: keda-metrics-apiserver, namespace: keda, labels: {kubernetes.io/service-name: keda-metrics-apiserver}}
addressType: IPv4
endpoints: [{addresses: ["$host"], conditions: {ready: true}}]
ports: [{name: https, port: 16443, protocol: TCP}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  service: {name: keda-metrics-apiserver, namespace: keda}
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  caBundle: $(base64 -w0 "$pki/ca.crt")
Y
await "all kinds are known" kubectl wait --for condition=Established --timeout 20s crd --all
keda=(env WATCH_NAMESPACE= POD_NAMESPACE=keda KEDA_CLUSTER_OBJECT_NAMESPACE=keda KEDA_HTTP_DEFAULT_TIMEOUT=3000)
run keda-operator "${keda[@]}" keda-operator --cert-dir "$state/keda" --enable-cert-rotation=false \
  --metrics-bind-address 127.0.0.1:18080 --health-probe-bind-address 127.0.0.1:18081 \
  --metrics-service-bind-address 127.0.0.1:19666
run keda-adapter "${keda[@]}" keda-adapter --secure-port 16443 --port 18082 --cert-dir "$state/keda" \
  --metrics-service-address localhost:19666 --client-ca-file "$pki/ca.crt" \
  --tls-cert-file "$pki/keda.crt" --tls-private-key-file "$pki/keda.key" \
  --kubeconfig "$KUBECONFIG" --lister-kubeconfig "$KUBECONFIG" \
  --authentication-kubeconfig "$KUBECONFIG" --authorization-kubeconfig "$KUBECONFIG"
