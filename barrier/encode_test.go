package barrier

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/raftdv/dv/fabric"
)

func lives(ls ...Life) []Life { return ls }

// someViews are a view and several that may follow it.
func someViews() (former *View, next map[string]*View) {
	cfg := Config{Epoch: 3, Voters: []fabric.MemberID{1, 2, 5}, Learners: []fabric.MemberID{9}}
	a, b, e := Life{1, 0xa, 1}, Life{2, 0xb, 7}, Life{5, math.MaxUint64, 1}
	former = &View{Number: 6, Former: 0x1234, Config: cfg, Members: lives(a, b, e), Since: []uint64{3, 6, 1}, Cuts: []uint64{1, 2}, Floor: fabric.Stamp{Time: 5, Logical: 2}}
	like := func(members []Life, cfg Config) *View {
		v := &View{Number: 7, Former: former.hash(), Config: cfg, Members: members, Cuts: []uint64{7, 1 << 40, 0}, Floor: fabric.Stamp{Time: -4, Logical: math.MaxUint32}}
		for _, l := range members {
			since := v.Number
			if i, _ := former.member(l.Member); former.has(l) {
				since = former.Since[i]
			}
			v.Since = append(v.Since, since)
		}
		return v
	}
	joint := Config{Epoch: 4, Voters: []fabric.MemberID{2, 7}, Outgoing: []fabric.MemberID{1, 2, 5}}
	return former, map[string]*View{
		"one leaves":            like(lives(a, e), cfg),
		"one comes back":        like(lives(a, Life{2, 0xc, 1}, e), cfg),
		"nobody stays":          like(lives(Life{1, 0xe, 1}, Life{5, 0xf, 2}), cfg),
		"another configuration": like(lives(a, b, e, Life{7, 1, 1}), joint),
	}
}

func TestViewRoundTrip(t *testing.T) {
	former, next := someViews()
	next["first"] = &View{Config: former.Config}
	for name, v := range next {
		b := AppendView(nil, v)
		got, err := ParseView(b)
		if err != nil || !reflect.DeepEqual(got, v) || got.ID() != v.ID() {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, v)
		}
		for n := range b {
			if _, err := ParseView(b[:n]); !errors.Is(err, ErrView) {
				t.Errorf("%s: %d of %d bytes: %v", name, n, len(b), err)
			}
		}
		if _, err := ParseView(append(bytes.Clone(b), 0)); !errors.Is(err, ErrView) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		if name == "first" {
			continue
		}
		value := appendValue(nil, v, former)
		if got, err := parseValue(value, former); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s as a difference: %+v, %v, want %+v", name, got, err, v)
		}
		if len(value) >= len(b) {
			t.Errorf("%s: %d bytes as a difference, %d in full", name, len(value), len(b))
		}
		for n := range value {
			if _, err := parseValue(value[:n], former); !errors.Is(err, ErrView) {
				t.Errorf("%s as a difference: %d of %d bytes: %v", name, n, len(value), err)
			}
		}
	}
}

// TestHashes: whatever differs makes another view.
func TestHashes(t *testing.T) {
	former, next := someViews()
	seen := map[uint64]string{former.hash(): "former"}
	change := func(name string, f func(*View)) {
		c := *next["one leaves"]
		f(&c)
		if was, ok := seen[c.hash()]; ok {
			t.Errorf("%s has the hash of %s", name, was)
		}
		seen[c.hash()] = name
	}
	change("nothing", func(*View) {})
	change("number", func(v *View) { v.Number++ })
	change("former", func(v *View) { v.Former++ })
	change("epoch", func(v *View) { v.Config.Epoch++ })
	change("voters", func(v *View) { v.Config.Voters = []fabric.MemberID{1, 5} })
	change("outgoing", func(v *View) { v.Config.Outgoing = []fabric.MemberID{1} })
	change("generation", func(v *View) { v.Members = lives(v.Members[0], Life{5, math.MaxUint64, 2}) })
	change("since", func(v *View) { v.Since = []uint64{3, 2} })
	change("cuts", func(v *View) { v.Cuts = []uint64{7, 1 << 40, 1} })
	change("floor", func(v *View) { v.Floor.Logical-- })
}

// of gives a view other members.
func of(v *View, members ...Life) {
	v.Members, v.Since = members, nil
	for range members {
		v.Since = append(v.Since, 1)
	}
}

// TestBadViews: what no honest member proposes is refused, and says why.
func TestBadViews(t *testing.T) {
	for want, f := range map[string]func(*View){
		"no voters":                     func(v *View) { v.Config.Voters = nil },
		"ids of its configuration":      func(v *View) { v.Config.Voters = []fabric.MemberID{2, 1, 5} },
		"0 is no member":                func(v *View) { v.Config.Voters = []fabric.MemberID{0, 1, 5} },
		"follows":                       func(v *View) { of(v, v.Members[1], v.Members[0]) },
		"is no voter":                   func(v *View) { of(v, append(lives(v.Members...), Life{9, 1, 1})...) },
		"no generation":                 func(v *View) { of(v, v.Members[0], Life{5, 1, 0}) },
		"no majority":                   func(v *View) { of(v, v.Members[0]) },
		"before the first":              func(v *View) { v.Number = 0 },
		"members, at most":              func(v *View) { v.Config.Voters = manyIDs(MaxMembers + 1) },
		"members are no majority of it": func(v *View) { of(v) },
		"since view 0":                  func(v *View) { v.Since[1] = 0 },
		"since view 8":                  func(v *View) { v.Since[0] = 8 },
	} {
		_, next := someViews()
		v := next["one leaves"]
		f(v)
		if err := v.validate(); !errors.Is(err, ErrView) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := ParseView(AppendView(nil, v)); err == nil {
			t.Errorf("%s: it is parsed", want)
		}
	}
}

func manyIDs(n int) (ids []fabric.MemberID) {
	for i := range n {
		ids = append(ids, fabric.MemberID(i+1)<<40)
	}
	return ids
}

// TestLargestRow: a section of the largest group fits a row beside what raft and
// the arbiter say, also where all members join at once.
func TestLargestRow(t *testing.T) {
	cfg := Config{Epoch: 1, Voters: manyIDs(MaxMembers)}
	former := &View{Config: cfg}
	next := &View{Number: 1, Former: former.hash(), Config: cfg, Floor: fabric.Stamp{Time: math.MaxInt64, Logical: math.MaxUint32}}
	counts := make([]uint64, MaxMembers)
	for i, id := range cfg.Voters {
		next.Members, next.Since = append(next.Members, Life{id, math.MaxUint64, 127}), append(next.Since, 1)
		counts[i] = 1 << 34
	}
	joins := section{view: former.ID(), generation: 1, flags: flagValue, accepted: ballot{1, 1}, promised: ballot{1, 1}, value: appendValue(nil, next, former)}
	after := &View{Number: 2, Former: next.hash(), Config: cfg, Members: next.Members, Since: next.Since, Cuts: counts}
	stays := section{view: next.ID(), generation: 1, flags: flagMember | flagValue | flagLeads, accepted: ballot{2, 1}, promised: ballot{2, 1},
		received: counts, value: appendValue(nil, after, next)}
	cuts := section{view: next.ID(), generation: 1, flags: flagMember | flagCut | flagLeads, promised: ballot{2, 1}, received: counts, cut: counts}
	for name, s := range map[string]section{"all join": joins, "all stay": stays, "cut": cuts} {
		const others = 64 + 8 + 112 + 8*MaxMembers // raft's section, and the arbiter's
		if n := len(s.append(nil)); n+others > fabric.MaxRowSections {
			t.Errorf("%s: %d bytes, %d are left in a row", name, n, fabric.MaxRowSections-others)
		}
	}
}

func TestSectionRoundTrip(t *testing.T) {
	s := section{
		view: ViewID{3, 99}, generation: 2, flags: flagMember | flagWedged | flagCut | flagValue | flagLeads, sent: 7,
		promise: fabric.Stamp{Time: 1, Logical: 2}, promised: ballot{5, 6}, accepted: ballot{5, 5}, barrier: fabric.Stamp{Time: 3, Logical: 4},
		high: fabric.Stamp{Time: 5, Logical: 6}, hears: 5, suspects: 2, out: 4, received: []uint64{1, 2, 300}, cut: []uint64{1, 2, 301}, value: []byte("value"),
	}
	b := s.append(nil)
	raw, ok := fabric.FindSection(b, fabric.SectionBarrier)
	if !ok {
		t.Fatal("no section")
	}
	got, err := parseSection(&raw)
	if err != nil || !reflect.DeepEqual(*got, s) {
		t.Errorf("%+v, %v\nwant %+v", got, err, s)
	}
	for n := range raw.Value[:sectionFixedLen+4] {
		cut := raw
		cut.Value = raw.Value[:n]
		if _, err := parseSection(&cut); err == nil {
			t.Errorf("%d bytes are taken", n)
		}
	}
	for name, f := range map[string]func(*section){
		"no generation":           func(s *section) { s.generation = 0 },
		"accepted above promised": func(s *section) { s.accepted.round = 9 },
		"a value of no ballot":    func(s *section) { s.accepted = ballot{} },
		"an unknown flag":         func(s *section) { s.flags |= 1 << 20 },
		"out, and does not lead":  func(s *section) { s.flags &^= flagLeads },
		"received, and no member": func(s *section) { s.flags &^= flagMember },
	} {
		bad := s
		f(&bad)
		raw, _ := fabric.FindSection(bad.append(nil), fabric.SectionBarrier)
		if _, err := parseSection(&raw); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestFollows: what an honest life's row does not do.
func TestFollows(t *testing.T) {
	old := section{view: ViewID{3, 9}, generation: 1, flags: flagMember | flagWedged, sent: 3, promise: fabric.Stamp{Time: 5}, barrier: fabric.Stamp{Time: 4},
		promised: ballot{2, 2}, accepted: ballot{2, 1}, received: []uint64{3, 3}}
	if err := old.follows(&old); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]func(*section){
		"view falls":              func(s *section) { s.view.Number = 2 },
		"then 3-":                 func(s *section) { s.view.Hash = 1 << 40 },
		"sent falls":              func(s *section) { s.sent = 2 },
		"promise falls":           func(s *section) { s.promise.Time = 4 },
		"barrier falls":           func(s *section) { s.barrier.Time = 3 },
		"promised ballot falls":   func(s *section) { s.promised = ballot{1, 9} },
		"accepted ballot falls":   func(s *section) { s.accepted = ballot{} },
		"wedged no more":          func(s *section) { s.flags = flagMember },
		"wedged, and stamps on":   func(s *section) { s.sent = 4 },
		"received falls":          func(s *section) { s.received = []uint64{3, 2} },
		"received of 2, then of ": func(s *section) { s.received = nil },
	} {
		s := old
		f(&s)
		if err := s.follows(&old); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestState: what is saved comes back; what is damaged is refused.
func TestState(t *testing.T) {
	w := begin(t, 3)
	olderValue(t, w)
	disk := w.nodes[memberC].disk
	c, err := New(Settings{Self: 3, Incarnation: 77, Config: w.configs[0]}, disk)
	if err != nil {
		t.Fatal(err)
	}
	v, was, blind, err := parseState(disk)
	if err != nil || blind || c.id != v.ID() || c.durable.promised != was.promised || c.durable.accepted != was.accepted {
		t.Errorf("%+v, want %+v; %v", c.durable, was, err)
	}
	for n := range disk {
		bad := bytes.Clone(disk)
		bad[n] ^= 4
		if _, err := New(Settings{Self: 3, Incarnation: 77, Config: w.configs[0]}, bad); !errors.Is(err, ErrState) {
			t.Errorf("byte %d of %d is damaged: %v", n, len(disk), err)
		}
		if _, err := New(Settings{Self: 3, Incarnation: 77, Config: w.configs[0]}, disk[:n]); !errors.Is(err, ErrState) {
			t.Errorf("%d of %d bytes: %v", n, len(disk), err)
		}
	}
}

// TestBlind: a member that ran before and has lost its disk does not vote until
// a view has it.
func TestBlind(t *testing.T) {
	w := begin(t, 3)
	w.nodes[memberC].disk = nil
	w.crash(memberC, true)
	c := w.nodes[memberC].core
	if c.votesNow() || c.propose(0) {
		t.Error("it votes")
	}
	if w.settle(); w.err != nil {
		t.Fatal(w.err)
	}
	if c := w.nodes[memberC].core; c.at < 0 || !c.votesNow() {
		t.Errorf("%v at %d, votes: %v", c.self, c.at, c.votesNow())
	}
}

func FuzzSection(f *testing.F) {
	w := newWorld(3, budget{})
	w.settle()
	for _, n := range w.nodes {
		raw, _ := fabric.FindSection([]byte(n.row), fabric.SectionBarrier)
		f.Add(raw.Value)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		raw := fabric.Section{ID: fabric.SectionBarrier, Version: sectionVersion, Value: b}
		s, err := parseSection(&raw)
		if err != nil {
			return
		}
		again, _ := fabric.FindSection(s.append(nil), fabric.SectionBarrier)
		if !bytes.Equal(again.Value, b) {
			t.Errorf("%x is read as %+v, which is %x", b, s, again.Value)
		}
		if s.is(flagValue) {
			_, _ = parseValue(s.value, w.nodes[0].core.view)
		}
		_ = w.nodes[0].core.clone().Row(2, 1<<40, &raw)
	})
}

func parseSection(raw *fabric.Section) (*section, error) {
	s := &section{}
	err := s.parse(raw)
	s.raw = nil // scratch
	return s, err
}

// TestParseAgain: a section takes the memory of another one, and nothing else of it.
func TestParseAgain(t *testing.T) {
	first := &section{generation: 1, flags: flagMember | flagLeads | flagCut | flagValue, promised: ballot{1, 1}, accepted: ballot{1, 1}, received: []uint64{1, 2, 3}, cut: []uint64{4, 5, 6}, value: []byte("value"), out: 1}
	second := &section{generation: 2, flags: flagMember, received: []uint64{7}}
	var s section
	for _, want := range []*section{first, second, first} {
		raw, _ := fabric.FindSection(want.append(nil), fabric.SectionBarrier)
		if err := s.parse(&raw); err != nil {
			t.Fatal(err)
		}
		clear(raw.Value) // it is the caller's
		if !bytes.Equal(s.append(nil), want.append(nil)) {
			t.Errorf("%+v, want %+v", s, *want)
		}
	}
}
