package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"github.com/raftdv/dv/raftdv/plug"
)

// exitUsage is what etcd exits with when its flags do not parse.
const exitUsage = 2

func main() {
	cl := parse(os.Args)
	switch {
	case cl.subcommand:
	case cl.help:
		fmt.Println(plug.Usage())
	case cl.version:
		printVersion(os.Stdout)
		return
	default:
		start(cl)
	}
	etcdmain.Main(cl.etcdArgs)
}

// start settles everything of ours before etcd looks at the rest, or ends the
// process with all faults.
func start(cl commandLine) {
	if err := configure(cl); err != nil {
		fmt.Fprintf(os.Stderr, "etcd-dv: not started:\n%s\n", indent(err))
		os.Exit(exitUsage)
	}
}
