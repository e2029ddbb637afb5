package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/raftdv"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update if it should):\ngot\n%s\nwant\n%s", path, got, want)
	}
}

var (
	started = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now     = started.Add(2*time.Hour + 3*time.Minute)
)

func at(ago time.Duration) *time.Time { return new(now.Add(-ago)) }

func lanes(control, appends raftdv.LaneState) []raftdv.LaneState {
	control.Lane, appends.Lane = "control", "append"
	return []raftdv.LaneState{control, appends, {Lane: "bulk"}}
}

// healthy is a member whose peers are all on the best fabric.
func healthy() raftdv.State {
	s := raftdv.State{
		Member: "8e9e05c52164694d", Cluster: "cdf818194e3a8c32", Incarnation: 1772366400000, Started: started,
		WireMin: 1, WireMax: 1, Liveness: "peer-url", ClusterFeatures: []string{"row-acks", "snapshots"},
		Elections: &raftdv.ElectionState{
			Mode: "on", Wanted: "on", Term: 7, Claimant: "91bc3c398fb3c146", Leads: true, Elections: 2, FalseSuspicions: 1,
			Last: &raftdv.LastElection{
				Ended: *at(65 * time.Second), Term: 7, Leader: "91bc3c398fb3c146", Nominee: "91bc3c398fb3c146", Lost: "fd422379fda50e48",
				Reason: "closed", Rounds: 1, Detection: 4.25, Took: 2.81,
			},
		},
		Fabrics: []raftdv.FabricState{
			{Name: "udp", Address: "10.0.0.1:2380", MaxFrame: 1 << 20}, {Name: "stream", MaxFrame: 32 << 20},
		},
	}
	for i, id := range []string{"91bc3c398fb3c146", "fd422379fda50e48"} {
		s.Peers = append(s.Peers, raftdv.PeerState{
			Member: id, URLs: []string{"http://10.0.0.2:2380"}, Path: "udp", ActiveSince: at(time.Duration(i+1) * 95 * time.Second),
			SuspectAfter: 60, ElectionMode: "on",
			Incarnation: 7, Wire: 1, Proven: true, Links: []raftdv.PeerLinkState{
				{Fabric: "udp", Up: true, RTT: 41.7, Lanes: lanes(
					raftdv.LaneState{Sent: 12, Delivered: 20}, raftdv.LaneState{Sent: 90210, Queued: 3, QueuedBytes: 1200})},
				{Fabric: "stream", Up: true, RTT: 60, Lanes: lanes(raftdv.LaneState{Sent: 1, Delivered: 2}, raftdv.LaneState{Sent: 10})},
			},
		})
	}
	return s
}

// troubled has every fault that the text knows.
func troubled() raftdv.State {
	s := healthy()
	s.Require, s.Liveness, s.ClusterFeatures = true, "fabric", nil
	s.Elections = &raftdv.ElectionState{
		Mode: "off", Wanted: "on", Why: "voter fd422379fda50e48 speaks rafthttp only", Term: 7, Claimant: "91bc3c398fb3c146", Suspects: true,
		Abstains: "position unknown",
	}
	s.Peers[1].Suspected = true
	s.Peers[0].Path, s.Peers[0].Proven = "stream", false
	s.Peers[0].Links[0] = raftdv.PeerLinkState{
		Fabric: "udp", Down: "no answer to 5 probes", Retransmissions: 17, Refused: 4,
		Lanes: lanes(raftdv.LaneState{Lost: 3, NoCredit: 2}, raftdv.LaneState{Lost: 40, NoCredit: 5}),
	}
	p := &s.Peers[1]
	p.Path, p.ActiveSince, p.Paused, p.Proven = "rafthttp", nil, true, false
	p.DialError, p.SideError = "connection refused", "the peer does not offer it"
	p.Links[0].Up, p.Links[1].Up, p.Links[1].Down = false, false, "connection reset"
	return s
}

func TestStatusText(t *testing.T) {
	broken := healthy()
	broken.Fabrics[0] = raftdv.FabricState{Name: "udp", Error: "bind udp 10.0.0.1:2380: address already in use"}
	broken.Peers, broken.Elections = nil, nil
	var b strings.Builder
	err := writeStatus(&b, []endpointStatus{
		{Endpoint: "http://10.0.0.1:2379", Members: []raftdv.State{healthy()}},
		{Endpoint: "http://10.0.0.2:2379", Members: []raftdv.State{troubled()}},
		{Endpoint: "http://10.0.0.3:2379", Members: []raftdv.State{broken}},
		{Endpoint: "http://10.0.0.4:2379"},
		{Endpoint: "http://10.0.0.5:2379", Error: "nobody listens there"},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.txt", b.String())
}

// serveStates answers as a member does.
func serveStates(t *testing.T, states ...raftdv.State) *httptest.Server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != raftdv.DebugPath || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(states)
	})
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func askStatus(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newRootCmd()
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"status"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestStatusAsksAllEndpoints(t *testing.T) {
	a, b := serveStates(t, healthy()), serveStates(t, troubled())
	// The second without a scheme, as etcdctl takes it.
	out, err := askStatus(t, "--endpoints", a.URL+"/,"+strings.TrimPrefix(b.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"at " + a.URL, "at " + b.URL, "no answer to 5 probes"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	good := serveStates(t, healthy())
	bad := serve(t, http.NotFound)
	out, err := askStatus(t, "--json", "--endpoints", good.URL+","+bad.URL)
	if err == nil {
		t.Error("an endpoint without a state is no error")
	}
	var got []endpointStatus
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if len(got) != 2 || len(got[0].Members) != 1 || got[0].Members[0].Peers[1].Links[0].RTT != 41.7 || got[0].Error != "" {
		t.Errorf("%+v", got)
	}
	if got[1].Endpoint != bad.URL || got[1].Members == nil || !strings.Contains(got[1].Error, "stock etcd") {
		t.Errorf("%+v", got[1])
	}
}

// One endpoint that does not answer fails the command; what the others say is
// shown all the same, and the error says what to do.
func TestStatusSaysWhatToDo(t *testing.T) {
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tlsServer.Close)
	demanding := httptest.NewUnstartedServer(http.NotFoundHandler())
	demanding.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	demanding.StartTLS()
	t.Cleanup(demanding.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	release := make(chan struct{})
	stuck := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	plain := serveStates(t, healthy())
	overTLS := strings.Replace(serveStates(t, healthy()).URL, "http", "https", 1)

	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tlsServer.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		endpoint string
		args     []string
		want     string
	}{
		"nobody":      {"http://" + closed.Addr().String(), nil, "is the member running"},
		"stock":       {serve(t, http.NotFound).URL, nil, "either this is stock etcd"},
		"failing":     {serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", 500) }).URL, nil, "look into the member's log"},
		"other":       {serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }).URL, nil, "belongs to the member's version"},
		"stuck":       {stuck.URL, []string{"--timeout=50ms"}, "--timeout waits longer"},
		"needs TLS":   {strings.Replace(tlsServer.URL, "https", "http", 1), nil, "wants TLS there: write https://"},
		"no TLS":      {overTLS, nil, "write http://"},
		"no CA":       {tlsServer.URL, nil, "give the CA of the members with --cacert"},
		"with CA":     {tlsServer.URL, []string{"--cacert", ca}, "stock etcd"},
		"not checked": {tlsServer.URL, []string{"--insecure-skip-tls-verify"}, "stock etcd"},
		"no cert":     {demanding.URL, []string{"--insecure-skip-tls-verify"}, "give --cert and --key"},
		"no host":     {"http://a b", nil, "write it like http://"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := askStatus(t, append(tc.args, "--endpoints", plain.URL+","+tc.endpoint)...)
			if !strings.Contains(out, "at "+plain.URL) {
				t.Errorf("the endpoint that answers is not shown:\n%s", out)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.endpoint) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	for name, args := range map[string][]string{
		"half a pair": {"--cert=x"}, "no endpoints": {"--endpoints="}, "no such file": {"--cacert=" + ca + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := askStatus(t, args...); err == nil {
				t.Error("no error")
			}
		})
	}
}
