package raftdv

import (
	"fmt"
	"testing"
)

func TestEventLog(t *testing.T) {
	var l eventLog
	events, missed, changed := l.after(0)
	if len(events) != 0 || missed != 0 {
		t.Errorf("an empty log has %d events, %d missed", len(events), missed)
	}
	l.add(Event{Peer: "1"})
	select {
	case <-changed:
	default:
		t.Error("a reader is not told of the first event")
	}
	for i := 2; i <= EventsKept+10; i++ {
		l.add(Event{Peer: fmt.Sprint(i)})
	}
	for _, c := range []struct{ after, missed, first, count uint64 }{
		{0, 10, 11, EventsKept},
		{9, 1, 11, EventsKept},
		{10, 0, 11, EventsKept},
		{EventsKept, 0, EventsKept + 1, 10},
		{EventsKept + 9, 0, EventsKept + 10, 1},
		{EventsKept + 10, 0, 0, 0},
	} {
		events, missed, changed := l.after(c.after)
		if uint64(len(events)) != c.count || missed != c.missed {
			t.Errorf("after %d: %d events, %d missed, want %d and %d", c.after, len(events), missed, c.count, c.missed)
			continue
		}
		for i, e := range events {
			if want := c.first + uint64(i); e.Number != want || e.Peer != fmt.Sprint(want) {
				t.Errorf("after %d: event %d is number %d about %s, want %d", c.after, i, e.Number, e.Peer, want)
			}
		}
		select {
		case <-changed:
			t.Errorf("after %d: told of a change that is not there", c.after)
		default:
		}
	}
}

// What happens to a transport is told, by number and in order.
func TestTransportTellsWhatHappens(t *testing.T) {
	before := LastEvent()
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b := nodes[0], nodes[1]
	eventually(t, "b is heard", func() bool { return !a.tr.ActiveSince(b.id).IsZero() })
	b.stop()
	seen := map[string]bool{}
	after := before
	eventually(t, "all is told", func() bool {
		events, missed, _ := EventsAfter(after)
		if missed > 0 {
			t.Fatalf("%d events missed", missed)
		}
		for _, e := range events {
			if e.Number != after+1 {
				t.Fatalf("event %d after %d", e.Number, after)
			}
			after = e.Number
			if e.Member == a.id.String() && e.Peer == b.id.String() {
				note(seen, &e)
			}
		}
		return seen["path udp"] && seen["left udp"] && seen["udp up"] && seen["udp down"] && seen["heard"] && seen["silent"]
	})
}

func note(seen map[string]bool, e *Event) {
	switch {
	case e.Path != nil:
		seen["path "+e.Path.To], seen["left "+e.Path.From] = true, true
	case e.Link != nil && e.Link.Up:
		seen[e.Link.Fabric+" up"] = true
	case e.Link != nil:
		seen[e.Link.Fabric+" down"] = true
	case e.Activity != nil && e.Activity.Heard:
		seen["heard"] = true
	case e.Activity != nil:
		seen["silent"] = true
	}
}

func TestEventText(t *testing.T) {
	for want, e := range map[string]Event{
		"messages to 2 take stream, not udp any more: timeout": {Peer: "2", Path: &PathEvent{"udp", "stream", "timeout"}},
		"messages to 2 take udp, not rafthttp any more":        {Peer: "2", Path: &PathEvent{From: "rafthttp", To: "udp"}},
		"udp reaches 2":              {Peer: "2", Link: &LinkEvent{Fabric: "udp", Up: true, Reason: "x"}},
		"udp does not reach 2: x":    {Peer: "2", Link: &LinkEvent{Fabric: "udp", Reason: "x"}},
		"2 is heard":                 {Peer: "2", Activity: &ActivityEvent{Heard: true}},
		"2 is not heard any more: x": {Peer: "2", Activity: &ActivityEvent{Reason: "x"}},
		"event 7 about 2":            {Number: 7, Peer: "2"},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
