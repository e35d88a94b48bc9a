# Every program in one image from scratch: docker build --build-arg VERSION=0.1.0 --tag snowpack:0.1.0 .
# deploy/image/README.md makes the same image without Docker; it reads the last stage below.
FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release && deploy/image/rootfs target/release /rootfs

FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="snowpack" \
      org.opencontainers.image.description="Keeps Apache Iceberg tables healthy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=builder /rootfs /
ENV PATH="/bin"
USER 65532:65532
CMD ["snowpack"]
