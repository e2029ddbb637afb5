package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"go.etcd.io/etcd/client/pkg/v3/transport"

	"github.com/raftdv/dv/raftdv"
)

const (
	defaultEndpoint      = "http://127.0.0.1:2379"
	defaultStatusTimeout = 5 * time.Second
	// maxStatus bounds what one endpoint may answer.
	maxStatus = 8 << 20
	maxReason = 1 << 10

	wantsTLS = "the member wants TLS there: write https://, with --cacert, --cert and --key as for etcdctl"
)

type statusConfig struct {
	endpoints []string
	json      bool
	watch     bool
	timeout   time.Duration
	tls       transport.TLSInfo
	skip      bool
}

func newStatusCmd() *cobra.Command {
	var cfg statusConfig
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the members of a cluster reach each other",
		Long: `Status asks the admin API of each endpoint (gRPC service raftdv.v1.Admin; if that
cannot be had, ` + raftdv.DebugPath + `) and prints what its transport knows: the fabrics of
the member, elections, and for each peer the path that messages take, since when
it is heard, the silence after which it is suspected, round-trip time, queues,
losses, and why a better path is not used. An
endpoint is a URL of --listen-client-urls or --listen-metrics-urls. It fails if
an endpoint does not answer.

With --watch it then goes on to print what happens, as it happens, until it is
interrupted: paths that change, links that go up or down, peers that are heard
or not, suspicions and elections. A member that is gone is waited for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatus(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	addEndpointFlags(f, &cfg, "client or metrics URLs of the members to ask")
	f.BoolVar(&cfg.json, "json", false, "print JSON: a list of endpoints with their states")
	f.BoolVar(&cfg.watch, "watch", false, "go on and print what happens; with --json a JSON object for each event")
	return cmd
}

// addEndpointFlags says whom to ask, and how.
func addEndpointFlags(f *pflag.FlagSet, cfg *statusConfig, endpoints string) {
	f.StringSliceVar(&cfg.endpoints, "endpoints", []string{defaultEndpoint}, endpoints)
	f.DurationVar(&cfg.timeout, "timeout", defaultStatusTimeout, "how long an endpoint may take")
	f.StringVar(&cfg.tls.TrustedCAFile, "cacert", "", "verify the members' certificates with this CA bundle")
	f.StringVar(&cfg.tls.CertFile, "cert", "", "client certificate to show to the members")
	f.StringVar(&cfg.tls.KeyFile, "key", "", "key of --cert")
	f.BoolVar(&cfg.skip, "insecure-skip-tls-verify", false, "accept any certificate")
}

// endpointStatus is what one endpoint answered.
type endpointStatus struct {
	Endpoint string         `json:"endpoint"`
	Error    string         `json:"error,omitempty"`
	Members  []raftdv.State `json:"members"`
}

func runStatus(ctx context.Context, cfg statusConfig, w io.Writer) error {
	a, err := newAsker(cfg)
	if err != nil {
		return err
	}
	defer a.close()
	if cfg.watch {
		return newWatcher(a, w).run(ctx)
	}
	all := make([]endpointStatus, len(a.endpoints))
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, e := range a.endpoints {
		wg.Go(func() { all[i], errs[i] = a.ask(ctx, e) })
	}
	wg.Wait()
	return errors.Join(append(errs, writeAll(w, all, cfg.json))...)
}

func writeAll(w io.Writer, all []endpointStatus, asJSON bool) error {
	if !asJSON {
		return writeStatus(w, all, time.Now())
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(all)
}
