//go:build linux

package shm

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

const (
	self = fabric.MemberID(0x20)
	mate = fabric.MemberID(0x10) // lower: it dials
)

var testKey = []byte("a key of some length")

// recorder is a handler that keeps what it is told.
type recorder struct {
	mu       sync.Mutex
	changed  chan struct{}
	frames   []fabric.Frame
	gaps     []fabric.Gap
	rows     []fabric.Row
	links    []fabric.LinkState
	resolved []fabric.Resolution
	log      []string
	// onDeliver is called without locks.
	onDeliver func(from fabric.MemberID)
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{}, 1)} }

func (r *recorder) note(f func(), format string, args ...any) {
	r.mu.Lock()
	f()
	r.log = append(r.log, fmt.Sprintf(format, args...))
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	for i := range frames {
		f := frames[i]
		f.Body, f.Patch = bytes.Clone(f.Body), bytes.Clone(f.Patch)
		r.note(func() { r.frames = append(r.frames, f) }, "frame %v %d of %d bytes", f.Lane, f.Link, len(f.Body))
	}
	r.mu.Lock()
	hook := r.onDeliver
	r.mu.Unlock()
	if hook != nil {
		hook(from)
	}
}

func (r *recorder) Gap(_ fabric.MemberID, g fabric.Gap) {
	r.note(func() { r.gaps = append(r.gaps, g) }, "gap %v %d+%d", g.Lane, g.First, g.Count)
}

func (r *recorder) Row(_ fabric.MemberID, row fabric.Row) {
	row.Sections = bytes.Clone(row.Sections)
	r.note(func() { r.rows = append(r.rows, row) }, "row %d.%d", row.Incarnation, row.Version)
}

func (r *recorder) Resolve(s []fabric.Resolution) {
	for _, x := range s {
		r.note(func() { r.resolved = append(r.resolved, x) }, "ticket %d: %v", x.Ticket, x.Err)
	}
}

func (r *recorder) Link(_ fabric.MemberID, s fabric.LinkState) {
	r.note(func() { r.links = append(r.links, s) }, "link up %v of %d: %v", s.Up, s.Incarnation, s.Err)
}

// await waits until cond, which is called under the mutex, holds.
func (r *recorder) await(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond) // for what nothing announces
	defer look.Stop()
	for {
		r.mu.Lock()
		ok := cond()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.changed:
		case <-look.C:
		case <-deadline.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			tb.Fatalf("%s: not in 20 s; told: %q", what, r.log)
		}
	}
}

func (r *recorder) hook(f func(from fabric.MemberID)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onDeliver = f
}

// link is the last state told.
func (r *recorder) link() fabric.LinkState {
	if len(r.links) == 0 {
		return fabric.LinkState{}
	}
	return r.links[len(r.links)-1]
}

func mustPort(tb testing.TB, cfg Config, h fabric.Handler) *Port {
	tb.Helper()
	p, err := New(cfg, h)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// testPair is two ports that are connected.
func testPair(tb testing.TB, edit func(*Config)) (a, b *Port, atA, atB *recorder) {
	tb.Helper()
	cfg := Config{Dir: testDir(tb), Incarnation: 1}
	if edit != nil {
		edit(&cfg)
	}
	open := func(id, to fabric.MemberID) (*Port, *recorder) {
		cfg.Self = id
		r := newRecorder()
		p := mustPort(tb, cfg, r)
		if err := p.Connect(to, Session{PeerIncarnation: 1, Key: testKey}); err != nil {
			tb.Fatal(err)
		}
		return p, r
	}
	a, atA = open(mate, self)
	b, atB = open(self, mate)
	atA.await(tb, "link up", func() bool { return atA.link().Up })
	atB.await(tb, "link up", func() bool { return atB.link().Up })
	return a, b, atA, atB
}

func sendOne(tb testing.TB, p *Port, to fabric.MemberID, lane fabric.Lane, ticket uint64, body []byte) {
	tb.Helper()
	if err := p.Send([]fabric.Outgoing{{To: []fabric.MemberID{to}, Lane: lane, Ticket: ticket, Body: body}}); err != nil {
		tb.Fatal(err)
	}
}
