# etcd, the API server at the address of the service `kubernetes`, controllers, scheduler, services.
run etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn
run kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
  --bind-address $api --secure-port 443 --advertise-address $host --endpoint-reconciler-type none \
  --service-cluster-ip-range 10.96.0.0/16 --allow-privileged --authorization-mode Node,RBAC \
  --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$pki/accounts.pub" --service-account-signing-key-file "$pki/accounts.key" \
  --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy-client \
  --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
  --requestheader-extra-headers-prefix X-Remote-Extra- --enable-aggregator-routing \
  --proxy-client-cert-file "$pki/front.crt" --proxy-client-key-file "$pki/front.key" \
  --kubelet-preferred-address-types InternalIP \
  --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key"
await "the API server is ready" kubectl get --raw /readyz

run kube-controller-manager kube-controller-manager --kubeconfig "$state/controllers.kubeconfig" \
  --authentication-kubeconfig "$state/controllers.kubeconfig" --authorization-kubeconfig "$state/controllers.kubeconfig" \
  --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials \
  --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
  --horizontal-pod-autoscaler-sync-period 5s
run kube-scheduler kube-scheduler --kubeconfig "$state/scheduler.kubeconfig" \
  --authentication-kubeconfig "$state/scheduler.kubeconfig" --authorization-kubeconfig "$state/scheduler.kubeconfig" \
  --bind-address 127.0.0.1 --leader-elect=false
run services python3 "$here/services.py" https://$api "$pki" $dns
