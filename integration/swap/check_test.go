package swap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/raftdv"
)

// trueHistory is one of two clients and three members, in which one write
// failed and took effect, and another failed and did not.
func trueHistory() *History {
	h := &History{Members: map[string][]Event{}}
	var events []Event
	now := int64(0)
	next := func() int64 { now += 10; return now }
	put := func(stream, i int) Op {
		value := fmt.Sprint("v", i)
		rev := int64(len(events) + 2)
		events = append(events, Event{Type: opPut, Key: key(i % 2), Value: Value{value}, Revision: rev, IsCreate: i < 2})
		return Op{
			ClientID: stream, Call: next(), Return: next(),
			Input:  Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp(key(i%2), value)}}},
			Output: Response{Txn: &TxnResult{Results: []OpResult{{}}}, Revision: rev, MemberID: "1"},
		}
	}
	a := []Op{put(1, 0), put(1, 1), put(1, 2)}
	unknown := put(1, 3)
	unknown.Output = Response{Error: "timeout"}
	never := unknown
	never.Input = Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp(key(0), "never")}}}
	refused := unknown
	refused.Input = Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp(key(0), "refused")}}}
	refused.Output = Response{Txn: &TxnResult{Failure: true, Results: []OpResult{}}, Revision: 5}
	h.Clients = [][]Op{append(a, unknown), {never, refused, put(2, 4)}}
	for _, m := range []string{"m1", "m2", "m3"} {
		h.Members[m] = append([]Event(nil), events...)
	}
	return h
}

func TestCheckHistory(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(*History)
		want  error
	}{
		{"true", func(*History) {}, nil},
		{"one member lost a write", func(h *History) { h.Members["m2"] = append(h.Members["m2"][:1], h.Members["m2"][2:]...) }, ErrLost},
		{"all lost the last write", func(h *History) {
			for m, events := range h.Members {
				h.Members[m] = events[:len(events)-1]
			}
		}, ErrLost},
		{"another value", func(h *History) { h.Members["m3"][0].Value.Value = "v9" }, ErrLost},
		{"another key", func(h *History) { h.Members["m1"][0].Key = "key7" }, ErrLost},
		{"a change that nobody wrote", func(h *History) {
			h.Members["m1"] = append(h.Members["m1"], Event{Type: opPut, Key: key(0), Value: Value{"x"}, Revision: 99})
		}, ErrPhantom},
		{"a write twice", func(h *History) {
			again := h.Members["m1"][3]
			again.Revision = 99
			h.Members["m1"] = append(h.Members["m1"], again)
		}, ErrPhantom},
		{"a write that was refused", func(h *History) {
			h.Members["m1"] = append(h.Members["m1"], Event{Type: opPut, Key: key(0), Value: Value{"refused2"}, Revision: 99})
		}, ErrPhantom},
		{"a member went its own way", func(h *History) {
			h.Members["m2"] = append(h.Members["m2"], Event{Type: opPut, Key: key(0), Value: Value{"never"}, Revision: 99})
		}, ErrDiverged},
		{"nothing acknowledged", func(h *History) { h.Clients = nil; clear(h.Members) }, ErrEmpty},
		{"no member asked", func(h *History) { clear(h.Members) }, ErrEmpty},
	} {
		h := trueHistory()
		c.plant(h)
		if err := CheckHistory(h); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestPlants: a plant says when it finds no place, and changes nothing but
// its own copy.
func TestPlants(t *testing.T) {
	h := trueHistory()
	for name, p := range plants {
		planted, err := p.in(h)
		if err != nil {
			if !errors.Is(err, errNowhere) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err := CheckHistory(planted); !errors.Is(err, p.want) {
			t.Errorf("%s: %v, want %v", name, err, p.want)
		}
	}
	if err := CheckHistory(h); err != nil {
		t.Errorf("a plant changed the true history: %v", err)
	}
}

// TestPlan: every member goes to dv, back, and to dv again, and a leader is
// lost.
func TestPlan(t *testing.T) {
	for n := 1; n <= 5; n++ {
		on := make([]bool, n)
		turns := make([]int, n)
		lost := 0
		for _, s := range plan(n) {
			switch {
			case s.member == leader:
				if !s.kill || !s.same {
					t.Errorf("%d members: the leader is not killed: %+v", n, s)
				}
				lost++
			case on[s.member] == s.dv:
				t.Errorf("%d members: %+v swaps nothing", n, s)
			default:
				on[s.member] = s.dv
				turns[s.member]++
			}
		}
		for i := range n {
			if turns[i] != 3 || !on[i] {
				t.Errorf("%d members: member %d is swapped %d times, in the end on dv: %v", n, i, turns[i], on[i])
			}
		}
		if lost != n {
			t.Errorf("%d members: %d leaders lost, want %d", n, lost, n)
		}
	}
}

func TestConfig(t *testing.T) {
	err := Config{Pace: -1}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"Stock", "DV", "Dir", "Pace"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("says nothing of %s: %v", part, err)
		}
	}
	if _, err := Run(t.Context(), Config{}, t.Output()); err == nil {
		t.Error("Run accepts an empty config")
	}
	if c := (Config{}).withDefaults(); c.Clients != 6 || c.Pace != 25*time.Millisecond || c.Settle != 3*time.Second {
		t.Errorf("defaults %+v", c)
	}
}

func TestMeasure(t *testing.T) {
	w := func(at int64) Op {
		return Op{Return: at, Input: Request{Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp("k", "v")}}}, Output: Response{Txn: &TxnResult{}}}
	}
	f := w(250)
	f.Output = Response{Error: "gone"}
	r := &Report{
		History: &History{Clients: [][]Op{{w(90), w(110), w(300)}, {w(120), f, w(405)}}},
		Steps:   []StepReport{{begin: 100, end: 400}, {begin: 400, end: 500}, {begin: 500, end: 700}},
	}
	r.measure()
	for i, want := range []StepReport{{Gap: 180, Acked: 3, Failed: 1}, {Gap: 95, Acked: 1}, {Gap: 200}} {
		got := r.Steps[i]
		if got.Gap != want.Gap || got.Acked != want.Acked || got.Failed != want.Failed {
			t.Errorf("step %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestCountRoads(t *testing.T) {
	peer := func(id, path string) raftdv.PeerState { return raftdv.PeerState{Member: id, Path: path} }
	got := countRoads([]raftdv.State{
		{Member: "a", Peers: []raftdv.PeerState{peer("b", "udp"), peer("c", "rafthttp"), peer("s", "rafthttp")}},
		{Member: "b", Peers: []raftdv.PeerState{peer("a", "stream"), peer("s", "udp")}},
		{Member: "c"},
	}, map[string]bool{"a": true, "b": true, "c": true})
	if want := (Roads{Fabric: 2, Fallback: 1, Stock: 1, Wrong: 1}); got != want {
		t.Errorf("roads %+v, want %+v", got, want)
	}
}

// TestSave: what is empty and not nil in etcd's reports is so in ours.
func TestSave(t *testing.T) {
	h := &History{
		Clients: [][]Op{{
			{
				ClientID: 7, Call: 1, Return: 2,
				Input:  Request{Type: typeRange, Range: &Range{Start: "a"}},
				Output: Response{Range: &RangeResult{KVs: []KV{}}, Revision: 1, MemberID: "ab"},
			},
			{
				ClientID: 7, Call: 3, Return: 4,
				Input:  Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp("a", "b")}}},
				Output: Response{Txn: &TxnResult{Results: []OpResult{{}}}, Revision: 2},
			},
		}},
		Members: map[string][]Event{"m1": {
			{Type: opPut, Key: "a", Value: Value{"b"}, Revision: 2, IsCreate: true},
			{Type: opPut, Key: "c", Value: Value{"d"}, Revision: 2},
			{Type: opPut, Key: "a", Value: Value{"e"}, Revision: 3},
		}},
	}
	dir := t.TempDir()
	if err := h.Save(dir); err != nil {
		t.Fatal(err)
	}
	ops, err := os.ReadFile(filepath.Join(dir, "client-1", "operations.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`{"ClientID":7,"Input":{"Type":"range","Range":{"Start":"a","End":"","Limit":0,"KeysOnly":false,"Revision":0}},"Call":1,"Output":{"Range":{"KVs":[],"Count":0},"Revision":1,"member-id":"ab"},"Return":2}`,
		`"Output":{"Txn":{"Failure":false,"Results":[{"KVs":null,"Count":0,"Deleted":0}]},"Revision":2}`,
		`"Put":{"Key":"a","Value":{"Value":"b"},"LeaseID":0}`,
	} {
		if !strings.Contains(string(ops), part) {
			t.Errorf("operations lack %s:\n%s", part, ops)
		}
	}
	events, err := os.ReadFile(filepath.Join(dir, "client-2", "watch.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Request":{"Key":"","Revision":1,"WithPrefix":true},"Responses":[` +
		`{"Events":[{"Type":"put-operation","Key":"a","Value":{"Value":"b"},"Revision":2,"IsCreate":true},{"Type":"put-operation","Key":"c","Value":{"Value":"d"},"Revision":2,"IsCreate":false}],"Revision":2,"Time":1},` +
		`{"Events":[{"Type":"put-operation","Key":"a","Value":{"Value":"e"},"Revision":3,"IsCreate":false}],"Revision":3,"Time":2}]}` + "\n"
	if string(events) != want {
		t.Errorf("events:\n%swant:\n%s", events, want)
	}
}

// TestCheckerMustCheck: a checker that found nothing to check, or could not,
// is no proof.
func TestCheckerMustCheck(t *testing.T) {
	for script, want := range map[string]struct {
		says  string
		isBad bool
	}{
		"exit 0": {"checked nothing", false},
		"echo '    --- PASS: TestDataReports/swap (0.00s)'":                      {"checked nothing", false},
		"echo Linearization success":                                             {"checked nothing", false},
		"echo Linearization success; echo '--- PASS: TestDataReports/x (0.00s)'": {"", false},
		"exit 1": {"rejects", true},
		"exit 2": {"exit status 2", false},
	} {
		path := filepath.Join(t.TempDir(), "checker")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		err := runChecker(t.Context(), path, t.TempDir())
		if (want.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want.says) || errors.Is(err, ErrNotLinearizable) != want.isBad {
			t.Errorf("%s: %v, want %q", script, err, want.says)
		}
	}
}
