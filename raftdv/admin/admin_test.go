package admin

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
	"github.com/raftdv/dv/raftdv/election"
)

// patience bounds what a test waits for; nothing is timed.
const patience = 30 * time.Second

// fill sets every field of v, however deep, to something that is not zero; n
// makes each value another one.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 1, 0, 0, *n, *n, time.UTC)))
			return
		}
		for _, field := range v.Fields() {
			fill(field, n)
		}
	default:
		panic("no value for " + v.Type().String())
	}
}

// Whatever a state holds arrives: a field that is added to it and forgotten here
// fails this test.
func TestStateSurvives(t *testing.T) {
	var s raftdv.State
	fill(reflect.ValueOf(&s).Elem(), new(int))
	if got := ToState(FromState(&s)); !reflect.DeepEqual(got, s) {
		t.Errorf("got\n%+v\nwant\n%+v", got, s)
	}
	m := FromState(&s)
	m.Peers[1].Links[1].Lanes[1].CreditBytes = 0 // as if it had been forgotten
	if got := ToState(m); reflect.DeepEqual(got, s) {
		t.Error("negative control: a lost field is not noticed")
	}
	empty := ToState(FromState(&raftdv.State{}))
	if empty.Peers == nil || empty.Fabrics == nil || empty.ClusterFeatures == nil {
		t.Errorf("empty lists are nil, JSON would say null: %+v", empty)
	}
}

func TestEventSurvives(t *testing.T) {
	for _, e := range []raftdv.Event{
		{Path: &raftdv.PathEvent{}}, {Link: &raftdv.LinkEvent{}}, {Activity: &raftdv.ActivityEvent{}}, {Election: &raftdv.ElectionEvent{}},
	} {
		v := reflect.ValueOf(&e).Elem()
		for _, f := range v.Fields() {
			if f.Kind() != reflect.Pointer || !f.IsNil() {
				fill(f, new(int))
			}
		}
		if got := ToEvent(FromEvent(&e)); !reflect.DeepEqual(got, e) {
			t.Errorf("got %+v, want %+v", got, e)
		}
	}
}

// serveHandler serves Handler as a listener of metrics does, and dials it.
func serveHandler(t *testing.T, sealed bool) *grpc.ClientConn {
	t.Helper()
	mux := http.NewServeMux()
	for _, p := range Paths() {
		mux.Handle(p, Handler())
	}
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	creds := insecure.NewCredentials()
	if sealed {
		s.EnableHTTP2 = true
		s.StartTLS()
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	conn, err := grpc.NewClient("passthrough:///"+s.Listener.Addr().String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// startMember runs a transport without peers, and the server of its peer URL.
func startMember(t *testing.T, id types.ID) (*raftdv.Transport, string) {
	t.Helper()
	tr := &raftdv.Transport{ID: id, ClusterID: 7, Raft: noRaft{}, Config: raftdv.Config{Require: true, Fabrics: []string{raftdv.FabricStream}}}
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(tr.Handler())
	t.Cleanup(func() { tr.Stop(); s.CloseClientConnections(); s.Close() })
	return tr, s.URL
}

func TestStatus(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed=%v", sealed), func(t *testing.T) {
			conn := serveHandler(t, sealed)
			startMember(t, 0xb)
			startMember(t, 0xa)
			r, err := adminpb.NewAdminClient(conn).Status(t.Context(), &adminpb.StatusRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.GetMembers()) != 2 || r.GetMembers()[0].GetMember() != "a" || r.GetMembers()[1].GetCluster() != "7" {
				t.Errorf("got %v", r)
			}
			h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "raftdv.v1.Admin"})
			if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("health: %v, %v", h, err)
			}
		})
	}
}

// Reflection lists the service, so that generic clients can call it.
func TestReflection(t *testing.T) {
	stream, err := reflectionpb.NewServerReflectionClient(serveHandler(t, false)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil || !strings.Contains(r.String(), "raftdv.v1.Admin") {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := adminpb.NewAdminClient(serveHandler(t, false))
	a, urlOfA := startMember(t, 0xa)
	b, urlOfB := startMember(t, 0xb)
	before, err := client.Status(ctx, &adminpb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.Watch(ctx, &adminpb.WatchRequest{After: before.GetLastEvent()})
	if err != nil {
		t.Fatal(err)
	}
	a.AddPeer(b.ID, []string{urlOfB})
	b.AddPeer(a.ID, []string{urlOfA})
	for {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		e := r.GetEvent()
		if r.GetMissed() > 0 || e.GetNumber() != before.GetLastEvent()+1 {
			t.Fatalf("got %v after event %d", r, before.GetLastEvent())
		}
		before.LastEvent++
		if e.GetMember() == "a" && e.GetPeer() == b.ID.String() && e.GetPath().GetTo() == raftdv.FabricStream {
			break
		}
	}
	cancel()
	if _, err := drain(stream); status.Code(err) != codes.Canceled {
		t.Errorf("the end is %v", err)
	}
}

func drain(stream grpc.ServerStreamingClient[adminpb.WatchResponse]) (n int, err error) {
	for ; err == nil; n++ {
		_, err = stream.Recv()
	}
	return n, err
}

func TestWatchRefuses(t *testing.T) {
	client := adminpb.NewAdminClient(serveHandler(t, false))
	stream, err := client.Watch(t.Context(), &adminpb.WatchRequest{After: raftdv.LastEvent() + 1000})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.OutOfRange || !strings.Contains(err.Error(), "was restarted") {
		t.Errorf("an event of the future: %v", err)
	}
	watchers.Add(maxWatchers)
	defer watchers.Add(-maxWatchers)
	if stream, err = client.Watch(t.Context(), &adminpb.WatchRequest{}); err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one watcher too many: %v", err)
	}
	if n := watchers.Load(); n != maxWatchers {
		t.Errorf("%d watchers are counted, want %d", n, maxWatchers)
	}
}

// A caller that speaks HTTP/1.1 is told what is wrong.
func TestHTTP1IsRefused(t *testing.T) {
	s := httptest.NewServer(Handler())
	t.Cleanup(s.Close)
	r, err := http.Post(s.URL+Paths()[0]+"Status", "application/grpc", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); r.StatusCode == http.StatusOK || !strings.Contains(string(text), "HTTP/2") {
		t.Errorf("got %s %q", r.Status, text)
	}
}

// SetElections needs somebody who permits it, a mode that exists, and members
// that know their voters; otherwise it changes nothing.
func TestSetElections(t *testing.T) {
	serve := func(permit func(context.Context) error) adminpb.AdminClient {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		Register(s, permit)
		go s.Serve(l)
		t.Cleanup(s.Stop)
		conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return adminpb.NewAdminClient(conn)
	}
	tr := &raftdv.Transport{ID: 0xc, ClusterID: 7, Raft: noRaft{}, Config: raftdv.Config{
		Require: true, Fabrics: []string{raftdv.FabricStream}, Elections: election.Observe,
		Members: func() election.Members { return election.Members{Voters: []fabric.MemberID{0xc}} },
	}}
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Stop)
	set := func(c adminpb.AdminClient, mode string) (*adminpb.SetElectionsResponse, error) {
		return c.SetElections(t.Context(), &adminpb.SetElectionsRequest{Mode: mode})
	}
	free := serve(func(context.Context) error { return nil })
	if _, err := set(serve(nil), "on"); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "listen-client-urls") {
		t.Errorf("nobody permits it: %v", err)
	}
	if _, err := set(serve(func(context.Context) error { return status.Error(codes.PermissionDenied, "not you") }), "on"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("somebody forbids it: %v", err)
	}
	if _, err := set(free, "perhaps"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "off, observe or on") {
		t.Errorf("a mode that is none: %v", err)
	}
	if got := tr.State().Elections.Wanted; got != "observe" {
		t.Errorf("a refused call has set %s", got)
	}
	if r, err := set(free, "on"); err != nil || len(r.GetMembers()) != 1 || r.GetMembers()[0] != "c" || tr.State().Elections.Wanted != "on" {
		t.Errorf("%v, %v, %+v", r, err, tr.State().Elections)
	}
	startMember(t, 0xa)
	if _, err := set(free, "observe"); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "member a") {
		t.Errorf("a member that does not know its voters: %v", err)
	}
	if got := tr.State().Elections.Wanted; got != "on" {
		t.Errorf("a call that failed has set %s at another member", got)
	}
}
