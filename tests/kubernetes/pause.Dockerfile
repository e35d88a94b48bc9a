# What tests/kubernetes/cluster packs as the process that holds a pod's namespaces.
FROM scratch
COPY pause /pause
ENV PATH="/"
USER 65535:65535
CMD ["/pause"]
