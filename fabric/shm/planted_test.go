//go:build linux

package shm

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
)

// bug stands between the port and the suite's handler, and does what the port
// would do if it had the bug.
type bug struct {
	fabric.Handler
	name string
	mu   sync.Mutex
	n    int
	kept fabric.Row
}

// now reports whether the bug shows in this call: in one of seven.
func (b *bug) now(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.name != name {
		return false
	}
	b.n++
	return b.n%7 == 3
}

func (b *bug) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	switch {
	case b.now("acked and dropped"):
		return
	case b.now("a slot is taken twice"):
		b.Handler.Deliver(from, frames[:1])
	case b.now("slots change places") && len(frames) > 1:
		frames[0], frames[1] = frames[1], frames[0]
	case b.now("stale bytes"):
		for i := range frames {
			if n := len(frames[i].Body); n > 0 {
				frames[i].Body[n-1] ^= 1
			}
		}
	case b.now("the patch of another"):
		frames[0].Patch = nil
	case b.now("Row runs beside Deliver"):
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Handler.Link(from, fabric.LinkState{Up: true})
		}()
		b.Handler.Deliver(from, frames)
		<-done
		return
	}
	b.Handler.Deliver(from, frames)
}

func (b *bug) Gap(from fabric.MemberID, g fabric.Gap) {
	if b.name != "gaps are not reported" {
		b.Handler.Gap(from, g)
	}
}

func (b *bug) Row(from fabric.MemberID, row fabric.Row) {
	if b.now("an old row is read again") && b.kept.Version > 0 {
		row = b.kept
	}
	if b.kept.Version == 0 {
		b.kept = row
		b.kept.Sections = append([]byte(nil), row.Sections...)
	}
	b.Handler.Row(from, row)
}

func (b *bug) Resolve(settled []fabric.Resolution) {
	switch {
	case b.now("a ticket is forgotten"):
		return
	case b.now("a ticket resolves twice"):
		b.Handler.Resolve(settled)
	}
	if b.name == "tickets do not time out" && settled[0].Err != nil {
		return
	}
	b.Handler.Resolve(settled)
}

func (b *bug) Link(peer fabric.MemberID, s fabric.LinkState) {
	if b.name == "a closed socket is not noticed" && !s.Up {
		return
	}
	b.Handler.Link(peer, s)
}

// TestSuiteFindsPlantedBugs: the suite as it runs here sees what it has to see.
func TestSuiteFindsPlantedBugs(t *testing.T) {
	for _, p := range []struct{ bug, name, says string }{
		{"acked and dropped", "tickets/acked", "F1"},
		{"a slot is taken twice", "order/batches", "twice"},
		{"slots change places", "order/batches", "F1"},
		{"stale bytes", "order/sizes", "not what was sent"},
		{"the patch of another", "order/multicast", "P6"},
		{"Row runs beside Deliver", "handler/serial", "same time"},
		{"gaps are not reported", "order/void", "F1"},
		{"an old row is read again", "rows/newest", "only rise"},
		{"a ticket is forgotten", "tickets/acked", "not resolved"},
		{"a ticket resolves twice", "tickets/acked", "after it was settled"},
		{"tickets do not time out", "tickets/stuck receiver", "not resolved"},
		{"a closed socket is not noticed", "life/kill", "told that the link is down"},
	} {
		t.Run(p.bug, func(t *testing.T) {
			t.Parallel()
			f := factory(variant{spin: -1, wrap: func(h fabric.Handler) fabric.Handler { return &bug{Handler: h, name: p.bug} }})
			f.Slack, f.Patience = time.Second, 5*time.Second // waited for in vain
			for _, v := range fabrictest.Violations(t, f, p.name) {
				if strings.Contains(v.Message, p.says) {
					t.Logf("found: %s", v.Message)
					return
				}
			}
			t.Errorf("%s does not find it", p.name)
		})
	}
}
