package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/integration/demo"
)

func newDemoCmd() *cobra.Command {
	var cfg demo.Config
	var links bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a cluster on loopback, kill its leader, check that nothing acknowledged is lost",
		Long: `Demo starts a cluster of etcd-dv on loopback in a temporary folder, writes to
it, kills the leader with SIGKILL, measures how long writes are refused, starts
the member again and reads back every put that was acknowledged. It fails if
one is missing. At a terminal the cluster then stays up until Ctrl-C. Nothing
is left behind. If stock etcd is at hand, its leader is killed in the same way,
to compare.

With --links it cuts links between members instead: each has a network namespace
of its own, which needs root. First the link of the leader and a follower of
three, both ways, then all links but those of a chain of four; stock etcd beside
it. It fails if a cluster of etcd-dv cannot be written to meanwhile, changes its
leader more than once, or loses a write.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Binary == "" {
				var err error
				if cfg.Binary, err = besideUs("etcd-dv"); err != nil {
					return err
				}
			}
			if !cmd.Flags().Changed("stock") {
				cfg.Stock, _ = besideUs("etcd")
			}
			if links {
				return demo.Links(cmd.Context(), demo.LinksConfig{Binary: cfg.Binary, Stock: cfg.Stock, Args: cfg.Args, Duration: cfg.Load}, cmd.OutOrStdout())
			}
			cfg.Tool = os.Args[0]
			if _, err := exec.LookPath("etcdctl"); err != nil {
				cfg.Etcdctl = filepath.Join(filepath.Dir(os.Args[0]), "etcdctl")
			}
			if !cmd.Flags().Changed("stay") {
				cfg.Stay = terminal(os.Stdin) && terminal(os.Stdout)
			}
			return demo.Run(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Binary, "binary", "", "etcd-dv or etcd to run (default: the etcd-dv beside this program)")
	f.StringVar(&cfg.Stock, "stock", "", "stock etcd to compare with, empty for none (default: the etcd beside this program, if there is one)")
	f.IntVar(&cfg.Members, "members", 3, "number of members")
	f.BoolVar(&cfg.TLS, "tls", false, "mutual TLS between peers and towards clients")
	f.DurationVar(&cfg.Load, "load", 0, "how long to write before the leader is killed (default 3s)")
	f.StringArrayVar(&cfg.Args, "arg", nil, "further argument for every member, like --arg=--dv-mode=off; may be repeated")
	f.BoolVar(&links, "links", false, "cut links between members instead (root only; 10s for each cut, or --load)")
	f.BoolVar(&cfg.Stay, "stay", false, "keep the cluster until Ctrl-C (default: at a terminal only)")
	return cmd
}

// besideUs finds a program that was installed together with this one.
func besideUs(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s: %w: build it with make build, or name one with --binary", name, err)
	}
	return path, nil
}

func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
