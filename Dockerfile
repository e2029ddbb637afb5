# Both binaries, static, in the places of etcd's own image.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The version comes from git; without a repository it is (devel).
RUN git config --global --add safe.directory /src \
 && CGO_ENABLED=0 GOFLAGS=-trimpath make build \
 && install -d /out/usr/local/bin /out/etc/ssl/certs /out/var/etcd /out/var/lib/etcd \
 && install -d -m 1777 /out/tmp \
 && install bin/etcd-dv bin/raftdv /out/usr/local/bin/ \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM scratch
COPY --from=build /out/ /
ENV PATH=/usr/local/bin
WORKDIR /var/etcd/
WORKDIR /var/lib/etcd/
EXPOSE 2379 2380 2380/udp
CMD ["/usr/local/bin/etcd-dv"]
