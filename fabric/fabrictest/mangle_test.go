package fabrictest

import (
	"bytes"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// hoarder breaks duty 2: it keeps what it is handed.
type hoarder struct {
	fabric.Handler
	frames  []fabric.Frame
	row     fabric.Row
	settled []fabric.Resolution
	during  func(*hoarder)
}

func (h *hoarder) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	h.frames = frames
	h.during(h)
}
func (h *hoarder) Row(_ fabric.MemberID, row fabric.Row) {
	h.row = row
	h.during(h)
}
func (h *hoarder) Resolve(settled []fabric.Resolution) {
	h.settled = settled
	h.during(h)
}

// TestMangle: during the call everything is as the port said, afterwards
// nothing that was kept is, and the port's own bytes are untouched.
func TestMangle(t *testing.T) {
	body, patch, sections := []byte("body"), []byte("patch"), []byte("sections")
	frames := []fabric.Frame{{Header: fabric.Header{Stream: 7, Seal: []byte("seal")}, Body: body, Patch: patch}}
	settled := []fabric.Resolution{{Ticket: 3}}
	h := &hoarder{}
	m := Mangle(h)

	h.during = func(h *hoarder) {
		f := h.frames[0]
		if string(f.Body) != "body" || string(f.Patch) != "patch" || string(f.Seal) != "seal" || f.Stream != 7 {
			t.Errorf("during Deliver: %+v", f)
		}
	}
	m.Deliver(1, frames)
	if f := h.frames[0]; f.Stream != 0 || f.Seal != nil || string(f.Body) == "body" || string(f.Patch) == "patch" {
		t.Errorf("kept beyond Deliver: %+v", f)
	}
	h.during = func(h *hoarder) {
		if string(h.row.Sections) != "sections" || h.row.Version != 2 {
			t.Errorf("during Row: %+v", h.row)
		}
	}
	m.Row(1, fabric.Row{Version: 2, Sections: sections})
	if string(h.row.Sections) == "sections" {
		t.Error("kept beyond Row")
	}
	h.during = func(h *hoarder) {
		if h.settled[0].Ticket != 3 {
			t.Errorf("during Resolve: %+v", h.settled)
		}
	}
	m.Resolve(settled)
	if h.settled[0].Ticket != 0 {
		t.Error("kept beyond Resolve")
	}
	if !bytes.Equal(body, []byte("body")) || !bytes.Equal(sections, []byte("sections")) || settled[0].Ticket != 3 || frames[0].Stream != 7 {
		t.Error("the port's own bytes were overwritten")
	}
}

// TestRecorder: what a case does to its testing.TB ends with the case.
func TestRecorder(t *testing.T) {
	var order []string
	r := &recorder{TB: t, name: "x"}
	r.do(func() {
		r.Cleanup(func() { order = append(order, "first") })
		r.Cleanup(func() { order = append(order, "second"); r.Errorf("late %d", 1) })
		r.Fatalf("stop %d", 2)
		order = append(order, "after Fatalf")
	})
	if len(order) != 2 || order[0] != "second" || len(r.messages) != 2 || r.messages[0] != "stop 2" || !r.Failed() || r.Skipped() || r.Name() != "x" {
		t.Errorf("order %q, messages %q", order, r.messages)
	}
	s := &recorder{TB: t}
	s.do(func() { s.Skip("why"); s.Error("after Skip") })
	if s.Failed() || !s.Skipped() {
		t.Errorf("skipped: %q", s.messages)
	}
}

// TestFactoriesSayWhatTheyLack: an ability that is missing without a reason is
// a failure, one with a reason a skip.
func TestFactoriesSayWhatTheyLack(t *testing.T) {
	f := refFactory("")
	made := f.New
	f.New = func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt Options) *Cluster {
		c := made(tb, ids, handlers, opt)
		c.Cut = nil
		return c
	}
	if found := Violations(t, f, "tickets/loss"); len(found) == 0 {
		t.Error("a factory without Cut passes")
	}
	f.Lacks = map[Ability]string{AbleCut: "no way to cut"}
	if found := Violations(t, f, "tickets/loss", "tickets/acked"); len(found) != 0 {
		t.Errorf("a factory that says what it lacks: %+v", found)
	}
	// And one that says that it lacks what it has would hide cases.
	f = refFactory("")
	for _, a := range []Ability{AbleKill, AbleRestart, AbleCut, AbleWait, AbleStats} {
		f.Lacks = map[Ability]string{a: "so it says"}
		if found := Violations(t, f, "tickets/acked"); len(found) == 0 {
			t.Errorf("a factory lies that it lacks %q", a)
		}
	}
}
