# containerd, the images, the kubelet of the node n1.
node=$state/node
mkdir -p "$node/net" "$node/manifests"
cat >"$node/containerd.toml" <<T
version = 2
root = "$node/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE a negative value is refused.
  restrict_oom_score_adj = true
  sandbox_image = "localhost/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$tools/cni"
    conf_dir = "$node/net"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "$tools/bin/runc"
T
cat >"$node/net/10-bridge.conflist" <<T
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true, "ipam":
    {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "loopback"}]}
T
cat >"$node/kubelet.yaml" <<T
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $host
cgroupDriver: cgroupfs
cgroupRoot: /$(basename "$state")
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
volumePluginDir: $node/volume-plugins
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
clusterDNS: [$dns]
clusterDomain: cluster.local
T
mkdir "$state/pause"
cp "$tools/bin/pause" "$state/pause/"
"$here/../../deploy/image/oci" "$state/pause" localhost/pause:1 "$state/pause.tar" "$here/pause.Dockerfile" >/dev/null
run containerd containerd --config "$node/containerd.toml"
await "containerd answers" ctr version
for image in "$state/pause.tar" "${images[@]}"; do ctr --namespace k8s.io images import "$image" >/dev/null; done
run kubelet kubelet --config "$node/kubelet.yaml" --kubeconfig "$state/kubelet.kubeconfig" \
  --root-dir "$node/kubelet" --cert-dir "$node/kubelet/pki" --hostname-override n1 --node-ip $host
