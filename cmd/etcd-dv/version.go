package main

import (
	"fmt"
	"io"
	"runtime"

	etcdversion "go.etcd.io/etcd/api/v3/version"

	"github.com/raftdv/dv/internal/version"
	"github.com/raftdv/dv/raftdv/plug"
)

// printVersion prints etcd's own lines first, in etcd's words: programs parse
// them.
func printVersion(w io.Writer) {
	fmt.Fprintf(w, "etcd Version: %s\n", etcdversion.Version)
	fmt.Fprintf(w, "Git SHA: %s\n", etcdversion.GitSHA)
	fmt.Fprintf(w, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(w, "Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(w, "raftdv Version: %s\n", version.Version())
	if server, ok := plug.Hooked(); ok {
		fmt.Fprintf(w, "raftdv Hook: etcd server %s\n", server)
	} else {
		fmt.Fprintln(w, "raftdv Hook: absent (build with make build)")
	}
}
