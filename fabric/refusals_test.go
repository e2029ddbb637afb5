package fabric

import (
	"errors"
	"testing"
)

func TestRefusals(t *testing.T) {
	caps := Capabilities{MaxFrame: 10}
	batch := []Outgoing{
		{To: []MemberID{1, 2}, Ticket: 7, Class: ClassFIFO, Lane: LaneAppend, Body: []byte("fits")},
		{To: []MemberID{1, 3}, Ticket: 8, Class: ClassFIFO, Lane: LaneAppend, Body: make([]byte, 11)},
		{Class: ClassFIFO, Lane: LaneAppend},
	}
	var none Refusals
	if n := none.Check(batch[:1], &caps, false); n != 2 || none.Skip(0) {
		t.Errorf("%d destinations of a frame for two, skipped: %v", n, none.Skip(0))
	}
	if err := none.Err(); err != nil { // a nil *SendError would be one
		t.Errorf("nothing was refused: %v", err)
	}

	var r Refusals
	if n := r.Check(batch, &caps, false); n != 2 {
		t.Errorf("%d destinations are left, of 2", n)
	}
	if r.Skip(0) || !r.Skip(1) || !r.Skip(2) {
		t.Errorf("skips %v %v %v", r.Skip(0), r.Skip(1), r.Skip(2))
	}
	// Member 3 is not known either, but its frame was refused before.
	r.Unknown(batch, func(id MemberID) bool { return id == 1 })
	wantRefused(t, r.Err(), []Refusal{{Index: 1, To: 1, Ticket: 8, Err: ErrTooLarge}, {Index: 1, To: 3, Ticket: 8, Err: ErrTooLarge}, {Index: 2, Err: ErrBadFrame}, {Index: 0, To: 2, Ticket: 7, Err: ErrUnknownPeer}})

	var closed Refusals
	if n := closed.Check(batch[:2], &caps, true); n != 0 {
		t.Errorf("%d destinations are left of a closed port", n)
	}
	wantRefused(t, closed.Err(), []Refusal{{Index: 0, To: 1, Ticket: 7, Err: ErrClosed}, {Index: 0, To: 2, Ticket: 7, Err: ErrClosed}, {Index: 1, To: 1, Ticket: 8, Err: ErrClosed}, {Index: 1, To: 3, Ticket: 8, Err: ErrClosed}})
}

func wantRefused(t *testing.T, err error, want []Refusal) {
	t.Helper()
	refused, ok := errors.AsType[*SendError](err)
	if !ok || len(refused.Refused) != len(want) {
		t.Fatalf("%v, want %d refusals", err, len(want))
	}
	for i, w := range want {
		g := refused.Refused[i]
		if g.Index != w.Index || g.To != w.To || g.Ticket != w.Ticket || !errors.Is(g.Err, w.Err) {
			t.Errorf("refusal %d is %+v, want %+v", i, g, w)
		}
	}
}
