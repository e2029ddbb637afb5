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
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
)

// An asker asks endpoints for what they know.
type asker struct {
	cfg       statusConfig
	endpoints []string
	tls       *tls.Config
	http      *http.Client
}

func newAsker(cfg statusConfig) (*asker, error) {
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
	a := &asker{cfg: cfg, tls: tlsConfig}
	for _, e := range cfg.endpoints {
		a.endpoints = append(a.endpoints, withScheme(e, cfg))
	}
	a.http = &http.Client{Timeout: cfg.timeout, Transport: &http.Transport{TLSClientConfig: tlsConfig}}
	return a, nil
}

func (a *asker) close() { a.http.CloseIdleConnections() }

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

// ask prefers the admin API. It cannot be had where there is HTTP only, or from
// a member that refuses gRPC: learners do, and those without a leader since
// they were started.
func (a *asker) ask(ctx context.Context, endpoint string) (endpointStatus, error) {
	s := endpointStatus{Endpoint: endpoint, Members: []raftdv.State{}}
	members, _, err := a.askAdmin(ctx, endpoint)
	switch {
	case err == nil:
		s.Members = members
	case status.Code(err) == codes.DeadlineExceeded: // it would answer nothing else, either
		err = explain(context.DeadlineExceeded)
	default:
		err = fetchStates(ctx, a.http, endpoint, &s.Members)
	}
	if err != nil {
		s.Error = err.Error()
		err = fmt.Errorf("%s: %w", endpoint, err)
	}
	return s, err
}

// dial makes a client of the admin API; nothing is sent yet.
func (a *asker) dial(endpoint string) (*grpc.ClientConn, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: write it like %s", err, defaultEndpoint)
	}
	creds := insecure.NewCredentials()
	if u.Scheme == "https" {
		creds = credentials.NewTLS(a.tls.Clone())
	}
	return grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxStatus)))
}

// askAdmin returns what the admin API says, and the number of the last event
// before.
func (a *asker) askAdmin(ctx context.Context, endpoint string) (members []raftdv.State, last uint64, err error) {
	conn, err := a.dial(endpoint)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, a.cfg.timeout)
	defer cancel()
	r, err := adminpb.NewAdminClient(conn).Status(ctx, &adminpb.StatusRequest{})
	if err != nil {
		return nil, 0, err
	}
	members = []raftdv.State{}
	for _, m := range r.GetMembers() {
		members = append(members, admin.ToState(m))
	}
	return members, r.GetLastEvent(), nil
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
