package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

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
	timeout   time.Duration
	tls       transport.TLSInfo
	skip      bool
}

func newStatusCmd() *cobra.Command {
	var cfg statusConfig
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the members of a cluster reach each other",
		Long: `Status asks each endpoint for ` + raftdv.DebugPath + ` and prints what its
transport knows: the fabrics of the member, and for each peer the path that
messages take, since when it is heard, round-trip time, queues, losses, and why
a better path is not used. An endpoint is a URL of --listen-client-urls or
--listen-metrics-urls. It fails if an endpoint does not answer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatus(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&cfg.endpoints, "endpoints", []string{defaultEndpoint}, "client or metrics URLs of the members to ask")
	f.BoolVar(&cfg.json, "json", false, "print JSON: a list of endpoints with their states")
	f.DurationVar(&cfg.timeout, "timeout", defaultStatusTimeout, "how long an endpoint may take")
	f.StringVar(&cfg.tls.TrustedCAFile, "cacert", "", "verify the members' certificates with this CA bundle")
	f.StringVar(&cfg.tls.CertFile, "cert", "", "client certificate to show to the members")
	f.StringVar(&cfg.tls.KeyFile, "key", "", "key of --cert")
	f.BoolVar(&cfg.skip, "insecure-skip-tls-verify", false, "accept any certificate")
	return cmd
}

// endpointStatus is what one endpoint answered.
type endpointStatus struct {
	Endpoint string         `json:"endpoint"`
	Error    string         `json:"error,omitempty"`
	Members  []raftdv.State `json:"members"`
}

func runStatus(ctx context.Context, cfg statusConfig, w io.Writer) error {
	client, err := statusClient(cfg)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	all := make([]endpointStatus, len(cfg.endpoints))
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, e := range cfg.endpoints {
		wg.Go(func() { all[i], errs[i] = askEndpoint(ctx, client, withScheme(e, cfg)) })
	}
	wg.Wait()
	if cfg.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		err = enc.Encode(all)
	} else {
		err = writeStatus(w, all, time.Now())
	}
	return errors.Join(append(errs, err)...)
}

func statusClient(cfg statusConfig) (*http.Client, error) {
	if (cfg.tls.CertFile == "") != (cfg.tls.KeyFile == "") {
		return nil, errors.New("--cert and --key belong together: give both or none")
	}
	if len(cfg.endpoints) == 0 {
		return nil, errors.New("no endpoint to ask: give --endpoints")
	}
	tlsConfig := &tls.Config{}
	if cfg.tls.TrustedCAFile != "" || cfg.tls.CertFile != "" {
		var err error
		if tlsConfig, err = cfg.tls.ClientConfig(); err != nil {
			return nil, fmt.Errorf("TLS files: %w", err)
		}
	}
	tlsConfig.InsecureSkipVerify = tlsConfig.InsecureSkipVerify || cfg.skip
	return &http.Client{Timeout: cfg.timeout, Transport: &http.Transport{TLSClientConfig: tlsConfig}}, nil
}

// withScheme completes an endpoint that etcdctl would take without one.
func withScheme(endpoint string, cfg statusConfig) string {
	switch {
	case strings.Contains(endpoint, "://"):
		return endpoint
	case cfg.tls.TrustedCAFile != "" || cfg.tls.CertFile != "" || cfg.skip:
		return "https://" + endpoint
	}
	return "http://" + endpoint
}

func askEndpoint(ctx context.Context, client *http.Client, endpoint string) (endpointStatus, error) {
	s := endpointStatus{Endpoint: endpoint, Members: []raftdv.State{}}
	err := fetchStates(ctx, client, endpoint, &s.Members)
	if err != nil {
		s.Error = err.Error()
		err = fmt.Errorf("%s: %w", endpoint, err)
	}
	return s, err
}

func fetchStates(ctx context.Context, client *http.Client, endpoint string, into *[]raftdv.State) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("%w: write it like %s", err, defaultEndpoint)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(raftdv.DebugPath).String(), nil)
	if err != nil {
		return fmt.Errorf("%w: write it like %s", err, defaultEndpoint)
	}
	resp, err := client.Do(req)
	if err != nil {
		return explain(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return errors.New("it answers but has no transport to show: either this is stock etcd, or the URL is none of --listen-client-urls and --listen-metrics-urls")
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason))
		if strings.Contains(string(text), "HTTP request to an HTTPS server") {
			return errors.New(wantsTLS)
		}
		return fmt.Errorf("it answered %s: look into the member's log", resp.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxStatus)).Decode(into); err != nil {
		return fmt.Errorf("it answered something that is no state: %w: use the raftdv that belongs to the member's version", err)
	}
	return nil
}

// explain adds what to do to the usual reasons of a failed request.
func explain(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // the caller names the endpoint
	}
	text := err.Error()
	var remedy string
	switch {
	case errors.Is(err, context.DeadlineExceeded) || strings.Contains(text, "Client.Timeout"):
		remedy = "no answer in time: is the member stuck, or a firewall between? --timeout waits longer"
	case errors.Is(err, syscall.ECONNREFUSED):
		remedy = "nobody listens there: is the member running, and is this one of its --listen-client-urls?"
	case strings.Contains(text, "HTTP response to HTTPS client"):
		remedy = "the member does not use TLS there: write http://"
	case strings.Contains(text, "malformed HTTP response"), errors.Is(err, io.EOF):
		remedy = wantsTLS
	case strings.Contains(text, "unknown authority"):
		remedy = "give the CA of the members with --cacert"
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"):
		remedy = "the member wants a client certificate that it trusts: give --cert and --key"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, remedy)
}
