# Sourced by `cluster` inside the namespaces, as their first process: start.sh STATE [--image FILE.tar].. COMMAND..
state=$1
shift
images=()
while [ "${1:-}" = --image ]; do
  images+=("$(realpath "$2")")
  shift 2
done
[ $# -gt 0 ] || die "no command"

host=10.97.0.1 api=10.96.0.1 dns=10.96.0.10
pki=$state/pki
export PATH=$tools/bin:$PATH KUBECONFIG=$state/admin.kubeconfig SNOWPACK_TEST_CLUSTER=$state

# Starts a process whose log, pid and way to start it again lie in the folder.
run() {
  local name=$1
  shift
  printf 'echo $$ >%q\nexec %s>>%q 2>&1 </dev/null\n' "$state/$name.pid" "$(printf '%q ' "$@")" "$state/$name.log" \
    >"$state/$name.sh"
  setsid bash "$state/$name.sh" &
}

# Waits until a command succeeds.
await() {
  local what=$1 until=$((SECONDS + 90))
  shift
  while [ $SECONDS -lt $until ]; do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  tail -n 20 "$state"/*.log >&2
  die "waited in vain: $what"
}

for part in machine outside keys control-plane node keda; do source "$here/start/$part.sh"; done

await "the node is ready" kubectl wait --for condition=Ready --timeout 1s node/n1
await "KEDA's metrics are served" kubectl wait --for condition=Available --timeout 1s apiservice/v1beta1.external.metrics.k8s.io
await "the namespace can be used" kubectl get serviceaccount default
echo "tests/kubernetes/cluster: ready after $SECONDS s; state in $state" >&2
set +e
"$@"
status=$?
if [ "$status" != 0 ]; then
  kubectl get pods,jobs --all-namespaces --output wide >&2
  tail -n "${SNOWPACK_TEST_LOG_LINES:-40}" "$state"/*.log >&2
fi
exit "$status"
