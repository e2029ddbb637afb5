# etcd-dv, raftdv and etcd's own tools, static, in the places of etcd's own
# image. What the build needs of GO_IMAGE: go, make, git, a shell, CA
# certificates. See docs/install.md.
ARG GO_IMAGE=golang:1.26-bookworm
FROM ${GO_IMAGE} AS build
# Where modules come from, if not from Go's default.
ARG GOPROXY
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The version comes from git; without a repository it is (devel).
RUN git config --global --add safe.directory /src \
 && CGO_ENABLED=0 GOFLAGS=-trimpath make build etcdctl etcdutl notices \
    NOTICES=".build/go.mod=./cmd/etcd-dv .build/go.mod=./cmd/raftdv .build/etcdctl.mod=go.etcd.io/etcd/etcdctl/v3 .build/etcdutl.mod=go.etcd.io/etcd/etcdutl/v3" \
 && install -d /out/usr/local/bin /out/etc/ssl/certs /out/usr/share/doc/raftdv /out/var/etcd /out/var/lib/etcd \
 && install -d -m 1777 /out/tmp \
 && install bin/etcd-dv bin/raftdv bin/etcdctl bin/etcdutl /out/usr/local/bin/ \
 && ln -s etcd-dv /out/usr/local/bin/etcd \
 && cp LICENSE bin/THIRD-PARTY /out/usr/share/doc/raftdv/ \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && printf '%s\n' root:x:0:0:root:/:/sbin/nologin nonroot:x:65532:65532:nonroot:/:/sbin/nologin >/out/etc/passwd \
 && printf '%s\n' root:x:0: nonroot:x:65532: >/out/etc/group

FROM scratch
LABEL org.opencontainers.image.title=etcd-dv \
      org.opencontainers.image.description="etcd with the raftdv peer transport" \
      org.opencontainers.image.source=https://github.com/raftdv/dv \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /out/ /
ENV PATH=/usr/local/bin
WORKDIR /var/etcd/
WORKDIR /var/lib/etcd/
EXPOSE 2379 2380 2380/udp
CMD ["/usr/local/bin/etcd-dv"]
