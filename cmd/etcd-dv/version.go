package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/raftdv/dv/raftdv/plug"
)

// printVersion prints etcd's own lines first, in etcd's words: programs parse
// them.
func printVersion(w io.Writer) {
	fmt.Fprintf(w, "etcd Version: %s\n", version.Version)
	fmt.Fprintf(w, "Git SHA: %s\n", version.GitSHA)
	fmt.Fprintf(w, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(w, "Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(w, "raftdv Version: %s\n", ownVersion())
	if server, ok := plug.Hooked(); ok {
		fmt.Fprintf(w, "raftdv Hook: etcd server %s\n", server)
	} else {
		fmt.Fprintln(w, "raftdv Hook: absent (build with make build)")
	}
}

// ownVersion is what the go command recorded.
func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
