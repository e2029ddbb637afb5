package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
)

const patience = 30 * time.Second

// fakeAdmin is a member whose events a test makes.
type fakeAdmin struct {
	adminpb.UnimplementedAdminServer
	state  raftdv.State
	fail   error
	events chan *adminpb.WatchResponse
	ended  chan struct{} // a watch ends when something is in here
	after  chan uint64   // what watchers ask for
}

func newFakeAdmin() *fakeAdmin {
	return &fakeAdmin{state: healthy(), events: make(chan *adminpb.WatchResponse), ended: make(chan struct{}), after: make(chan uint64, 16)}
}

func (f *fakeAdmin) Status(context.Context, *adminpb.StatusRequest) (*adminpb.StatusResponse, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	return &adminpb.StatusResponse{Members: []*adminpb.MemberStatus{admin.FromState(&f.state)}, LastEvent: 41}, nil
}

func (f *fakeAdmin) Watch(r *adminpb.WatchRequest, s grpc.ServerStreamingServer[adminpb.WatchResponse]) error {
	f.after <- r.GetAfter()
	for {
		select {
		case e := <-f.events:
			if err := s.Send(e); err != nil {
				return err
			}
		case <-f.ended:
			return status.Error(codes.Unavailable, "the member stops")
		case <-s.Context().Done():
			return nil
		}
	}
}

// serve answers gRPC only; debug answers the rest, if it is there.
func (f *fakeAdmin) serve(t *testing.T, debug http.Handler) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	adminpb.RegisterAdminServer(s, f)
	if debug == nil {
		go s.Serve(l)
		t.Cleanup(s.Stop)
		return "http://" + l.Addr().String()
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	h := &http.Server{Protocols: &p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			s.ServeHTTP(w, r)
			return
		}
		debug.ServeHTTP(w, r)
	})}
	go h.Serve(l)
	t.Cleanup(func() { h.Close(); s.Stop() })
	return "http://" + l.Addr().String()
}

func TestStatusAsksTheAdminAPI(t *testing.T) {
	f := newFakeAdmin()
	out, err := askStatus(t, "--endpoints", f.serve(t, nil))
	if err != nil || !strings.Contains(out, "member 8e9e05c52164694d of cluster") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A member that refuses gRPC still shows its state.
func TestStatusFallsBack(t *testing.T) {
	f := newFakeAdmin()
	f.fail = status.Error(codes.Unavailable, "etcdserver: rpc not supported for learner")
	debug := serveStates(t, healthy()).Config.Handler
	out, err := askStatus(t, "--endpoints", f.serve(t, debug))
	if err != nil || !strings.Contains(out, "member 8e9e05c52164694d of cluster") {
		t.Errorf("%v\n%s", err, out)
	}
}

// output collects what a command prints while it runs.
type output struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) wait(t *testing.T, what string, count int) {
	t.Helper()
	deadline := time.After(patience)
	for strings.Count(o.String(), what) < count {
		select {
		case <-o.changed:
		case <-deadline:
			t.Fatalf("not %d times %q in\n%s", count, what, o)
		}
	}
}

// startWatch runs status --watch until the test ends it.
func startWatch(t *testing.T, args ...string) (out *output, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := newRootCmd()
	out = newOutput()
	cmd.SetOut(out)
	cmd.SetErr(out)
	cmd.SetArgs(append([]string{"status", "--watch"}, args...))
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	return out, func() error {
		cancel()
		return <-done
	}
}

func event(number uint64, reason string) *adminpb.WatchResponse {
	e := raftdv.Event{Number: number, Time: now, Member: "a", Peer: "b", Path: &raftdv.PathEvent{From: "udp", To: "stream", Reason: reason}}
	return &adminpb.WatchResponse{What: &adminpb.WatchResponse_Event{Event: admin.FromEvent(&e)}}
}

func TestStatusWatch(t *testing.T) {
	f, other := newFakeAdmin(), newFakeAdmin()
	out, end := startWatch(t, "--endpoints", f.serve(t, nil)+","+other.serve(t, nil))
	out.wait(t, "member 8e9e05c52164694d of cluster", 2)
	f.events <- event(42, "timeout")
	out.wait(t, "member a: messages to b take stream, not udp any more: timeout\n", 1)
	f.events <- &adminpb.WatchResponse{What: &adminpb.WatchResponse_Missed{Missed: 17}}
	out.wait(t, ": 17 events were missed\n", 1)
	other.events <- event(43, "cut")
	out.wait(t, "cut\n", 1)
	if after := <-f.after; after != 41 {
		t.Errorf("asked for events after %d, the status said 41", after)
	}
	// A member that goes and comes back is watched again.
	f.ended <- struct{}{}
	out.wait(t, "cannot be watched: ", 1)
	out.wait(t, "member 8e9e05c52164694d of cluster", 3)
	f.events <- event(44, "again")
	out.wait(t, "again\n", 1)
	if err := end(); err != nil {
		t.Errorf("an interrupted watch ends with %v", err)
	}
}

func TestStatusWatchJSON(t *testing.T) {
	f := newFakeAdmin()
	out, end := startWatch(t, "--json", "--endpoints", f.serve(t, nil))
	f.events <- event(42, "timeout")
	out.wait(t, "timeout", 1)
	if err := end(); err != nil {
		t.Error(err)
	}
	var lines []watchLine
	for line := range strings.Lines(out.String()) {
		var l watchLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	if len(lines) != 2 || len(lines[0].Members) != 1 || lines[1].Event.Path.To != "stream" || lines[1].Event.Number != 42 {
		t.Errorf("got %s", out)
	}
}

// There is no use in waiting for a server that will never have the API.
func TestStatusWatchRefusesStock(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	go s.Serve(l)
	t.Cleanup(s.Stop)
	if _, err := askStatus(t, "--watch", "--endpoints", l.Addr().String()); err == nil || !strings.Contains(err.Error(), "stock etcd") {
		t.Errorf("got %v", err)
	}
}
