package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/internal/version"
)

// exitInterrupted is what a shell reports for a program that Ctrl-C ended.
const exitInterrupted = 130

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	err := newRootCmd().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	var exit exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, "raftdv:", err)
		os.Exit(exit.code)
	case interrupted:
		fmt.Fprintln(os.Stderr, "raftdv: interrupted:", err)
		os.Exit(exitInterrupted)
	default:
		fmt.Fprintln(os.Stderr, "raftdv:", err)
		os.Exit(1)
	}
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "raftdv",
		Short:         "Show, inspect and measure raft clusters on the raftdv transport",
		Version:       version.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newDemoCmd(), newStatusCmd(), newElectionsCmd(), newBenchCmd(), newSimCmd(), newStormCmd(), newDoctorCmd())
	return root
}
