# What only this cluster sees of the machine: empty folders where programs insist on writing, addresses, names.
mount --make-rshared /
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs "$folder"; done

# The kubelet sets these for the whole machine. It finds them as it wants them, in files.
mkdir "$state/sysctl"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=$state/sysctl/$(basename "${setting%=*}")
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done

echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
for address in $host $api $dns; do ip address add "$address/32" dev lo; done
echo "nameserver $dns" >"$state/resolv.conf"
mount --bind "$state/resolv.conf" "$(readlink -f /etc/resolv.conf)"
