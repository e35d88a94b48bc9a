# One authority, a certificate for each component, the key of service accounts, a kubeconfig for each client.
mkdir "$pki"
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# certificate NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
  key "$pki/$1.key"
  openssl req -new -key "$pki/$1.key" -subj "$2" \
    | openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 2 -out "$pki/$1.crt" \
      -extfile <(printf 'keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}") 2>/dev/null
}

# kubeconfig NAME: for the client with that certificate
kubeconfig() {
  cat >"$state/$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$api", certificate-authority: $pki/ca.crt}}]
users: [{name: u, user: {client-certificate: $pki/$1.crt, client-key: $pki/$1.key}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
Y
}

key "$pki/ca.key"
openssl req -x509 -new -key "$pki/ca.key" -subj /CN=snowpack-tests -days 2 -out "$pki/ca.crt" \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature
certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:$api"
certificate front /CN=front-proxy-client
certificate keda /CN=keda "DNS:localhost,DNS:keda-metrics-apiserver.keda.svc"
certificate admin /O=system:masters/CN=admin
certificate controllers /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate kubelet /O=system:nodes/CN=system:node:n1 "DNS:n1,IP:$host"
for client in admin controllers scheduler kubelet; do kubeconfig "$client"; done
key "$pki/accounts.key"
openssl ec -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub" 2>/dev/null
