package plug

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver/api"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
	"github.com/raftdv/dv/raftdv/election"
)

// reset gives a test a process that nothing was configured in.
func reset(t *testing.T) {
	t.Helper()
	process.Lock()
	hooked := process.hooked
	process.configured, process.settings, process.hooked = false, Settings{}, ""
	process.Unlock()
	t.Cleanup(func() {
		process.Lock()
		process.configured, process.settings, process.hooked = false, Settings{}, hooked
		process.Unlock()
	})
}

func TestOffIsTheStockTransport(t *testing.T) {
	reset(t)
	if err := Configure(Settings{Mode: Off}); err != nil {
		t.Fatal(err)
	}
	stock := &rafthttp.Transport{}
	if got := New(config.ServerConfig{}, stock); got != Transport(stock) {
		t.Errorf("got %T, want the transport that was handed in", got)
	}
}

// Every parameter that the server fills in must reach the transport that runs:
// both structs spell them alike.
func TestReplaceKeepsEveryParameter(t *testing.T) {
	stock := &rafthttp.Transport{
		Logger: zap.NewNop(), DialTimeout: time.Second, DialRetryFrequency: 3, TLSInfo: transport.TLSInfo{CertFile: "c"},
		ID: 1, URLs: types.MustNewURLs([]string{"http://127.0.0.1:1"}), ClusterID: 2, Raft: noRaft{}, Snapshotter: snap.New(nil, "d"),
		ServerStats: stats.NewServerStats("n", "1"), LeaderStats: stats.NewLeaderStats(nil, "1"), ErrorC: make(chan error),
	}
	got := reflect.ValueOf(replace(Settings{}.WithDefaults(), config.ServerConfig{DataDir: "d"}, stock)).Elem()
	from := reflect.ValueOf(stock).Elem()
	for i := range from.NumField() {
		f := from.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if from.Field(i).IsZero() {
			t.Errorf("%s is not set by this test", f.Name)
		}
		to := got.FieldByName(f.Name)
		if !to.IsValid() || !reflect.DeepEqual(to.Interface(), from.Field(i).Interface()) {
			t.Errorf("%s is lost", f.Name)
		}
	}
}

type noRaft struct{ rafthttp.Raft }

func TestReplaceKeepsEverySetting(t *testing.T) {
	got := replace(everything, config.ServerConfig{DataDir: "d", PreVote: true, TickMs: 100, ElectionTicks: 15}, &rafthttp.Transport{}).Config
	if got.Members == nil {
		t.Error("nobody tells the members")
	}
	got.Members = nil // functions cannot be compared
	want := raftdv.Config{
		Elections: election.Observe, CheckQuorum: true, PreVote: true, ElectionTimeout: 1500 * time.Millisecond,
		Require: true, Fabrics: []string{"stream", "shm", "udp"}, ShmDir: "/run/dv", ListenUDP: "127.0.0.1:1", AdvertiseUDP: "127.0.0.1:2",
		TrustFabric: true, ControlTimeout: 2 * time.Second, IncarnationFile: "d/member/dv-incarnation",
		ViewFile: "d/member/dv-view", Delivery: raftdv.DeliveryAgreed, NoRelays: true, Beat: 5 * time.Millisecond,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What Validate lets through must not be refused when the server starts.
func TestValidSettingsAreValidThere(t *testing.T) {
	for _, s := range []Settings{{}, everything, {Mode: Require}, {Fabrics: []string{"stream"}}, {ControlTimeout: minControlTimeout}} {
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := replace(s.WithDefaults(), config.ServerConfig{}, &rafthttp.Transport{}).Config.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestDebugIsServed(t *testing.T) {
	mux := http.NewServeMux()
	HandleDebug(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/dv", nil))
	var states []raftdv.State
	if err := json.Unmarshal(w.Body.Bytes(), &states); err != nil || len(states) != 0 {
		t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
}

func TestConfigureRefusesFaultsAndChangesNothing(t *testing.T) {
	reset(t)
	if err := Configure(Settings{Mode: Off}); err != nil {
		t.Fatal(err)
	}
	if err := Configure(Settings{Mode: "x"}); err == nil {
		t.Error("a fault was taken")
	}
	if s, err := current(); err != nil || s.Mode != Off {
		t.Errorf("in force: %+v, %v", s, err)
	}
}

func TestEnvironmentHoldsWithoutConfigure(t *testing.T) {
	reset(t)
	t.Setenv("ETCD_DV_MODE", "off")
	if s, err := current(); err != nil || s.Mode != Off {
		t.Errorf("in force: %+v, %v", s, err)
	}
	if err := Configure(Settings{Mode: Auto}); err != nil {
		t.Fatal(err)
	}
	if s, err := current(); err != nil || s.Mode != Auto {
		t.Errorf("the environment beats Configure: %+v, %v", s, err)
	}
}

// The server calls New where it cannot fail: a fault must stop Start.
func TestFaultsOfTheEnvironmentStopTheServer(t *testing.T) {
	for _, kv := range [][2]string{{"ETCD_DV_MODE", "x"}, {"ETCD_DV_MOOD", "auto"}} {
		reset(t)
		t.Run(kv[0], func(t *testing.T) {
			t.Setenv(kv[0], kv[1])
			err := New(config.ServerConfig{}, &rafthttp.Transport{}).Start()
			if err == nil || !strings.Contains(err.Error(), "environment") {
				t.Errorf("Start: %v", err)
			}
		})
	}
}

func TestHooked(t *testing.T) {
	reset(t)
	if v, ok := Hooked(); ok {
		t.Errorf("hooked by %q before anything was marked", v)
	}
	MarkHooked("v3.7.3")
	if v, ok := Hooked(); !ok || v != "v3.7.3" {
		t.Errorf("got %q, %v", v, ok)
	}
}

// The admin API is on every listener that shows the metrics, over HTTP/2 in
// clear and under TLS; HTTP/1.1 goes on beside it.
func TestServeMetrics(t *testing.T) {
	info, err := transport.SelfCert(zap.NewNop(), t.TempDir(), []string{"127.0.0.1:0"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for scheme, creds := range map[string]credentials.TransportCredentials{
		"http": insecure.NewCredentials(), "https": credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}),
	} {
		t.Run(scheme, func(t *testing.T) {
			l, err := transport.NewListenerWithOpts("127.0.0.1:0", scheme, transport.WithTLSInfo(&info)) // as etcd opens it
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			HandleDebug(mux)
			served := make(chan error, 1)
			go func() { served <- ServeMetrics(l, mux) }()
			conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(creds))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := adminpb.NewAdminClient(conn).Status(t.Context(), &adminpb.StatusRequest{}); err != nil {
				t.Errorf("gRPC: %v", err)
			}
			client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			defer client.CloseIdleConnections()
			r, err := client.Get(scheme + "://" + l.Addr().String() + raftdv.DebugPath)
			if err != nil || r.StatusCode != http.StatusOK || r.ProtoMajor != 1 {
				t.Errorf("HTTP/1.1: %v, %v", r, err)
			}
			if err == nil {
				r.Body.Close()
			}
			l.Close()
			if err := <-served; err == nil {
				t.Error("ServeMetrics ends without an error")
			}
		})
	}
}

func TestHandleServices(t *testing.T) {
	s := grpc.NewServer()
	HandleServices(s, nil)
	if _, ok := s.GetServiceInfo()["raftdv.v1.Admin"]; !ok {
		t.Errorf("services: %v", s.GetServiceInfo())
	}
}

// guarded is a server whose authentication is on for everybody but root.
type (
	someAuth    = auth.AuthStore
	someCluster = api.Cluster
)

type guarded struct {
	someAuth
	who string
	err error
}

func (g guarded) AuthStore() auth.AuthStore { return g }
func (g guarded) AuthInfoFromCtx(context.Context) (*auth.AuthInfo, error) {
	return &auth.AuthInfo{Username: g.who}, g.err
}

func (g guarded) IsAdminPermitted(i *auth.AuthInfo) error {
	if i.Username != "root" {
		return auth.ErrPermissionDenied
	}
	return nil
}

func TestOnlyRootMayChange(t *testing.T) {
	for _, c := range []struct {
		server guarded
		want   codes.Code
	}{
		{guarded{who: "root"}, codes.OK},
		{guarded{who: "alice"}, codes.PermissionDenied},
		{guarded{who: "root", err: auth.ErrInvalidAuthToken}, codes.PermissionDenied},
	} {
		if err := permitRoot(c.server)(t.Context()); status.Code(err) != c.want {
			t.Errorf("%+v: %v, want %v", c.server, err, c.want)
		}
	}
	if permitRoot("no server") != nil {
		t.Error("somebody who cannot be asked permits")
	}
}

// voting is a server with two voters and a learner.
type voting struct{ someCluster }

func (v voting) Cluster() api.Cluster { return v }
func (v voting) Members() []*membership.Member {
	learner := &membership.Member{ID: 3, RaftAttributes: membership.RaftAttributes{IsLearner: true}}
	return []*membership.Member{{ID: 1}, {ID: 2}, learner}
}

func TestMembersOf(t *testing.T) {
	want := election.Members{Voters: []fabric.MemberID{1, 2}, Learners: []fabric.MemberID{3}}
	if got := membersOf(voting{})(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	none := membership.NewCluster(zap.NewNop())
	if n, ok := removedFrom(none); n != 0 || !ok {
		t.Errorf("of a cluster of nobody %d were removed, %v", n, ok)
	}
	if got := membersOf("no server")(); !reflect.DeepEqual(got, election.Members{}) {
		t.Errorf("of no server: %+v", got)
	}
}

// printed is a cluster that says of itself what etcd's does.
type printed struct {
	voting
	text string
}

func (p printed) String() string       { return p.text }
func (p printed) Cluster() api.Cluster { return p }

// TestEpoch: each change of the members makes it rise, and what is not understood is
// not known.
func TestEpoch(t *testing.T) {
	last := uint64(0)
	for _, c := range []struct{ voters, learners, removed int }{
		{1, 0, 0}, {2, 0, 0}, {2, 1, 0}, {3, 0, 0}, {2, 0, 1}, {2, 1, 1}, {2, 0, 2}, {3, 0, 2}, {4, 0, 2}, {3, 0, 3},
	} {
		got := epochOf(c.voters, c.learners, c.removed)
		if got <= last {
			t.Errorf("%+v: %d after %d", c, got, last)
		}
		last = got
	}
	for text, want := range map[string]uint64{
		"{ClusterID:c Members:[] RemovedMemberIDs:[]}":                          5,
		"{ClusterID:c Members:[] RemovedMemberIDs:[8e9e05c52164694d a]}":        11,
		"{ClusterID:c Members:[RemovedMemberIDs:[1 2 3]] RemovedMemberIDs:[b]}": 8,
		"{ClusterID:c Members:[] RemovedMemberIDs:[me]}":                        0,
		"{ClusterID:c Members:[] RemovedMemberIDs:[a] Something:[b]}":           0,
		"{ClusterID:c Members:[]}":                                              0,
	} {
		if got := membersOf(printed{text: text})().Epoch; got != want {
			t.Errorf("%s: epoch %d, want %d", text, got, want)
		}
	}
	if got := membersOf(voting{})().Epoch; got != 0 {
		t.Errorf("of a cluster that says nothing of itself: %d", got)
	}
}
