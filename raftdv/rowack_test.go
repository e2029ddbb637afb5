package raftdv

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

func accept(from, to, term, index uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: new(from), To: new(to), Term: new(term), Index: new(index)}
}

func beat(from, to, term uint64, context []byte) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: new(from), To: new(to), Term: new(term), Context: context}
}

func readCounter(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// ackWriter and ackReader are what the tests exchange for broken ones.
type ackWriter interface {
	Note(*raftpb.Message) bool
	AppendSection([]byte) []byte
}

type ackReader interface {
	Observe([]*raftpb.Message, *fabric.Row) ([]*raftpb.Message, error)
}

// rowScheme is a way to carry acks in rows.
type rowScheme struct {
	name   string
	writer func(self fabric.MemberID) ackWriter
	reader func(self, owner fabric.MemberID) ackReader
}

var goodScheme = rowScheme{
	"as written",
	func(self fabric.MemberID) ackWriter { return NewRowWriter(self) },
	func(self, owner fabric.MemberID) ackReader { return NewRowReader(self, owner) },
}

// pairingWriter says "this term, and the greatest index": it commits what a
// follower lacks.
type pairingWriter struct {
	RowWriter
	greatest uint64
}

func (w *pairingWriter) Note(m *raftpb.Message) bool {
	ok := w.RowWriter.Note(m)
	if ok && m.GetType() == raftpb.MsgAppResp {
		w.greatest = max(w.greatest, m.GetIndex())
		w.ack.value = w.greatest
	}
	return ok
}

// borrowingWriter fills the ack of a newer term from any message of that term.
type borrowingWriter struct{ RowWriter }

func (w *borrowingWriter) Note(m *raftpb.Message) bool {
	ok := w.RowWriter.Note(m)
	if ok && w.ack.seq > 0 && m.GetTerm() > w.ack.term {
		w.ack.term, w.ack.to = m.GetTerm(), m.GetTo()
		w.ack.seq++
	}
	return ok
}

// changesOnlyWriter takes an equal emission for no news.
type changesOnlyWriter struct{ RowWriter }

func (w *changesOnlyWriter) Note(m *raftpb.Message) bool {
	before := w.RowWriter
	ok := w.RowWriter.Note(m)
	after := w.RowWriter
	if after.ack.seq, after.hb.seq = before.ack.seq, before.hb.seq; after == before {
		w.RowWriter = before
	}
	return ok
}

// newestWriter keeps the last read context instead of the greatest, and the
// last index.
type newestWriter struct{ RowWriter }

func (w *newestWriter) Note(m *raftpb.Message) bool {
	ok := w.RowWriter.Note(m)
	if ok && m.GetType() == raftpb.MsgAppResp {
		w.ack.value = m.GetIndex()
	}
	return ok
}

// greedyWriter puts rejections into the row.
type greedyWriter struct{ RowWriter }

func (w *greedyWriter) Note(m *raftpb.Message) bool {
	if m.GetType() == raftpb.MsgAppResp && m.GetReject() && m.GetIndex() > 0 {
		m = accept(m.GetFrom(), m.GetTo(), m.GetTerm(), m.GetIndex())
	}
	return w.RowWriter.Note(m)
}

// anyChangeReader takes every newer row for news.
type anyChangeReader struct{ RowReader }

func (r *anyChangeReader) Observe(dst []*raftpb.Message, row *fabric.Row) ([]*raftpb.Message, error) {
	if row.Version > r.version && row.Incarnation == r.incarnation {
		r.ack.seq, r.hb.seq = r.ack.seq-min(r.ack.seq, 1), r.hb.seq-min(r.hb.seq, 1)
	}
	return r.RowReader.Observe(dst, row)
}

// everybodyReader takes what is addressed to others.
type everybodyReader struct{ RowReader }

func (r *everybodyReader) Observe(dst []*raftpb.Message, row *fabric.Row) ([]*raftpb.Message, error) {
	self := r.self
	if s, ok := fabric.FindSection(row.Sections, fabric.SectionRaft); ok {
		r.self = fabric.MemberID(binary.LittleEndian.Uint64(s.Value[8:]))
	}
	msgs, err := r.RowReader.Observe(dst, row)
	r.self = self
	return msgs, err
}

// forgetfulReader forgets what it saw, as one that is made anew with each
// connection.
type forgetfulReader struct{ RowReader }

func (r *forgetfulReader) Observe(dst []*raftpb.Message, row *fabric.Row) ([]*raftpb.Message, error) {
	r.RowReader = *NewRowReader(r.self, r.owner)
	return r.RowReader.Observe(dst, row)
}

func brokenWriter[T ackWriter](name string, wrap func(RowWriter) T) rowScheme {
	return rowScheme{name, func(self fabric.MemberID) ackWriter { return wrap(*NewRowWriter(self)) }, goodScheme.reader}
}

func brokenReader[T ackReader](name string, wrap func(RowReader) T) rowScheme {
	return rowScheme{name, goodScheme.writer, func(self, owner fabric.MemberID) ackReader { return wrap(*NewRowReader(self, owner)) }}
}

var (
	pairing     = brokenWriter("newest term with greatest index", func(w RowWriter) *pairingWriter { return &pairingWriter{RowWriter: w} })
	borrowing   = brokenWriter("newest term with an old index", func(w RowWriter) *borrowingWriter { return &borrowingWriter{w} })
	changesOnly = brokenWriter("equal acks dropped", func(w RowWriter) *changesOnlyWriter { return &changesOnlyWriter{w} })
	newest      = brokenWriter("last index instead of the greatest", func(w RowWriter) *newestWriter { return &newestWriter{w} })
	greedy      = brokenWriter("rejections as accepts", func(w RowWriter) *greedyWriter { return &greedyWriter{w} })
	anyChange   = brokenReader("any change of the row is news", func(r RowReader) *anyChangeReader { return &anyChangeReader{r} })
	everybody   = brokenReader("acks of others", func(r RowReader) *everybodyReader { return &everybodyReader{r} })
	forgetful   = brokenReader("every row is the first", func(r RowReader) *forgetfulReader { return &forgetfulReader{r} })
)

// A chooser draws from [0, n); a scenario is a function of what it draws.
type chooser func(what string, n int) int

// rowExpectation is the cumulative state after the emissions that the row was
// given, computed the slow way: from the whole list.
type rowExpectation struct{ ack, hb []*raftpb.Message }

// expected is the one message that news of a list of emissions makes.
func expected(list []*raftpb.Message, to uint64) *raftpb.Message {
	if len(list) == 0 {
		return nil
	}
	best := list[0]
	for _, m := range list[1:] {
		if less(best, m) {
			best = m
		}
	}
	if best.GetTo() != to {
		return nil
	}
	return best
}

func less(a, b *raftpb.Message) bool {
	if a.GetTerm() != b.GetTerm() {
		return a.GetTerm() < b.GetTerm()
	}
	if a.GetType() == raftpb.MsgAppResp {
		return a.GetIndex() < b.GetIndex()
	}
	if (a.Context == nil) != (b.Context == nil) {
		return a.Context == nil
	}
	return a.Context != nil && binary.LittleEndian.Uint64(a.Context) < binary.LittleEndian.Uint64(b.Context)
}

type publishedRow struct {
	row    fabric.Row
	expect rowExpectation
}

// rowModel emits whatever raft can emit and more, publishes rows between, and
// delivers them late, twice, out of order or never.
type rowModel struct {
	scheme  rowScheme
	choose  chooser
	writer  ackWriter
	current publishedRow
	emitted []*raftpb.Message
	history []publishedRow
	readers map[uint64]ackReader
	seen    map[uint64]publishedRow
}

const rowOwner = 9

var rowReaders = []uint64{1, 2}

func newRowModel(scheme rowScheme, choose chooser) *rowModel {
	m := &rowModel{scheme: scheme, choose: choose, readers: map[uint64]ackReader{}, seen: map[uint64]publishedRow{}}
	m.restart()
	for _, id := range rowReaders {
		m.readers[id] = scheme.reader(fabric.MemberID(id), rowOwner)
	}
	return m
}

func (m *rowModel) restart() {
	m.writer = m.scheme.writer(rowOwner)
	m.current = publishedRow{row: fabric.Row{Owner: rowOwner, Incarnation: m.current.row.Incarnation + 1}}
}

func (m *rowModel) step() error {
	switch op := m.choose("op", 10); op {
	default:
		m.emit()
	case 5, 6:
		m.publish()
	case 7, 8:
		if len(m.history) == 0 {
			return nil
		}
		back := m.choose("age", min(len(m.history), 4))
		return m.deliver(m.history[len(m.history)-1-back], rowReaders[m.choose("reader", len(rowReaders))])
	case 9:
		if m.choose("restart", 8) == 0 {
			m.restart()
		}
	}
	return nil
}

func (m *rowModel) emit() {
	to, term := rowReaders[m.choose("to", len(rowReaders))], uint64(1+m.choose("term", 3))
	var msg *raftpb.Message
	switch m.choose("type", 6) {
	case 0, 1:
		msg = accept(rowOwner, to, term, uint64(m.choose("index", 4)))
	case 2:
		msg = accept(rowOwner, to, term, uint64(m.choose("index", 4)))
		msg.Reject, msg.RejectHint = new(true), new(uint64(1))
	case 3:
		msg = beat(rowOwner, to, term, nil)
	case 4:
		msg = beat(rowOwner, to, term, readCounter(uint64(m.choose("context", 4))))
	case 5:
		msg = m.oddEmission(to, term)
	}
	m.emitted = append(m.emitted, msg)
	if !m.writer.Note(proto.Clone(msg).(*raftpb.Message)) {
		return // a frame carries it
	}
	list := &m.current.expect.ack
	if msg.GetType() == raftpb.MsgHeartbeatResp {
		list = &m.current.expect.hb
	}
	*list = append(slices.Clip(*list), msg)
}

func (m *rowModel) oddEmission(to, term uint64) *raftpb.Message {
	a, h := accept(rowOwner, to, term, 3), beat(rowOwner, to, term, nil)
	switch m.choose("odd", 9) {
	case 0:
		a.Commit = new(uint64(1))
		return a
	case 1:
		a.Reject = new(false) // equal to a plain accept for raft, not for R1
		return a
	case 2:
		a.From = new(uint64(rowOwner + 1))
		return a
	case 3:
		a.Context = []byte{}
		return a
	case 4:
		h.Context = []byte{}
		return h
	case 5:
		h.Context = []byte("odd")
		return h
	case 6:
		h.Index = new(uint64(1))
		return h
	case 7:
		a.Term = nil
		return a
	}
	return &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: new(uint64(rowOwner)), To: new(to), Term: new(term)}
}

// publish makes a row; every second time another section has changed too.
func (m *rowModel) publish() {
	m.current.row.Version++
	sections := fabric.AppendSection(nil, fabric.Section{ID: fabric.SectionBarrier, Value: readCounter(m.current.row.Version)})
	m.current.row.Sections = m.writer.AppendSection(sections)
	m.history = append(m.history, m.current)
}

func (m *rowModel) deliver(p publishedRow, to uint64) error {
	got, err := m.readers[to].Observe(nil, &p.row)
	if p.row.Incarnation < m.seen[to].row.Incarnation {
		if err == nil || len(got) > 0 {
			return fmt.Errorf("row of an older incarnation made %v", got)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("row of an honest member: %w", err)
	}
	for _, g := range got {
		if !slices.ContainsFunc(m.emitted, func(e *raftpb.Message) bool { return proto.Equal(e, g) }) {
			return fmt.Errorf("R1: %v was never emitted", g)
		}
	}
	var want []*raftpb.Message
	last := m.seen[to]
	if p.row.Newer(&last.row) {
		before := last.expect
		if p.row.Incarnation != last.row.Incarnation {
			before = rowExpectation{}
		}
		want = appendNews(want, p.expect.ack, before.ack, to)
		want = appendNews(want, p.expect.hb, before.hb, to)
		m.seen[to] = p
	}
	if !slices.EqualFunc(got, want, func(a, b *raftpb.Message) bool { return proto.Equal(a, b) }) {
		return fmt.Errorf("row %d.%d at %d after %d.%d made %v, want %v", p.row.Incarnation, p.row.Version, to, last.row.Incarnation, last.row.Version, got, want)
	}
	return nil
}

func appendNews(dst, now, before []*raftpb.Message, to uint64) []*raftpb.Message {
	if m := expected(now, to); m != nil && len(now) > len(before) {
		dst = append(dst, m)
	}
	return dst
}

func runRowModel(scheme rowScheme, choose chooser, steps int) error {
	m := newRowModel(scheme, choose)
	for range steps {
		if err := m.step(); err != nil {
			return err
		}
	}
	m.publish() // the port resends the newest row until it arrives
	for _, id := range rowReaders {
		if err := m.deliver(m.history[len(m.history)-1], id); err != nil {
			return err
		}
	}
	return nil
}

func TestRowAcksR1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		err := runRowModel(goodScheme, func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, what) }, steps)
		if err != nil {
			t.Fatal(err)
		}
	})
}

func seeded(seed uint64) chooser {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(_ string, n int) int { return r.IntN(n) }
}

// TestRowAcksR1SeesMistakes is the model's negative control.
func TestRowAcksR1SeesMistakes(t *testing.T) {
	const trials = 2000
	for _, scheme := range []rowScheme{pairing, borrowing, changesOnly, newest, greedy, anyChange, everybody, forgetful} {
		found := false
		for seed := range uint64(trials) {
			if err := runRowModel(scheme, seeded(seed), 60); err != nil {
				found = true
				break
			}
		}
		if !found {
			t.Errorf("%s: not noticed in %d scenarios", scheme.name, trials)
		}
	}
}

func TestRowWriterNote(t *testing.T) {
	change := func(m *raftpb.Message, f func(*raftpb.Message)) *raftpb.Message { f(m); return m }
	w := NewRowWriter(3)
	if !w.Empty() {
		t.Error("a new writer is not empty")
	}
	for i, c := range []struct {
		why  string
		m    *raftpb.Message
		want bool
	}{
		{"first accept", accept(3, 1, 5, 10), true},
		{"equal accept", accept(3, 1, 5, 10), true},
		{"lower index of the term", accept(3, 1, 5, 9), true},
		{"older term", accept(3, 1, 4, 99), false},
		{"another addressee in the term", accept(3, 2, 5, 11), false},
		{"newer term with a lower index", accept(3, 2, 6, 1), true},
		{"index 0", accept(3, 2, 7, 0), false},
		{"no index", change(accept(3, 2, 7, 1), func(m *raftpb.Message) { m.Index = nil }), false},
		{"rejection", change(accept(3, 2, 7, 1), func(m *raftpb.Message) { m.Reject = new(true) }), false},
		{"explicit accept", change(accept(3, 2, 7, 1), func(m *raftpb.Message) { m.Reject = new(false) }), false},
		{"no term", change(accept(3, 2, 7, 1), func(m *raftpb.Message) { m.Term = nil }), false},
		{"of another", accept(4, 2, 7, 1), false},
		{"to nobody", accept(3, 0, 7, 1), false},
		{"answer", beat(3, 1, 5, nil), true},
		{"answer with a counter", beat(3, 1, 5, readCounter(7)), true},
		{"answer with a lower counter", beat(3, 1, 5, readCounter(6)), true},
		{"answer with an empty context", beat(3, 1, 5, []byte{}), false},
		{"answer with a short context", beat(3, 1, 5, []byte("short")), false},
		{"answer with a long context", beat(3, 1, 5, []byte("123456789")), false},
		{"answer of an older term", beat(3, 1, 4, nil), false},
		{"a vote", &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(uint64(9))}, false},
		{"with unknown fields", change(accept(3, 2, 7, 1), func(m *raftpb.Message) { m.ProtoReflect().SetUnknown([]byte{0xf8, 6, 1}) }), false},
	} {
		before := *w
		if got := w.Note(c.m); got != c.want {
			t.Errorf("%d, %s: %v, want %v", i, c.why, got, c.want)
		} else if changed := *w != before; changed != c.want {
			t.Errorf("%d, %s: row changed: %v", i, c.why, changed)
		}
	}
	if w.Empty() {
		t.Error("the writer is empty")
	}
	if want := (rowCell{6, 2, 1, 4, true}); w.ack != want {
		t.Errorf("ack %v, want %v", w.ack, want)
	}
	if want := (rowCell{5, 1, 7, 3, true}); w.hb != want {
		t.Errorf("hb %v, want %v", w.hb, want)
	}
}

func rowOf(w ackWriter, incarnation, version uint64) *fabric.Row {
	return &fabric.Row{Owner: 3, Incarnation: incarnation, Version: version, Sections: w.AppendSection(nil)}
}

func observe(t *testing.T, r ackReader, row *fabric.Row) string {
	t.Helper()
	msgs, err := r.Observe(nil, row)
	if err != nil {
		return "refused"
	}
	var s []string
	for _, m := range msgs {
		s = append(s, fmt.Sprintf("%v %d→%d term %d index %d context %x", m.GetType(), m.GetFrom(), m.GetTo(), m.GetTerm(), m.GetIndex(), m.GetContext()))
	}
	return strings.Join(s, "; ")
}

func TestRowReaderObserve(t *testing.T) {
	w, r := NewRowWriter(3), NewRowReader(1, 3)
	check := func(why string, row *fabric.Row, want string) {
		t.Helper()
		if got := observe(t, r, row); got != want {
			t.Errorf("%s: %q, want %q", why, got, want)
		}
	}
	check("nothing emitted", rowOf(w, 1, 1), "")
	w.Note(accept(3, 1, 5, 10))
	first := rowOf(w, 1, 2)
	check("first sight of an accept", first, "MsgAppResp 3→1 term 5 index 10 context ")
	check("the same row again", first, "")
	check("a newer row with the same acks", rowOf(w, 1, 3), "")
	w.Note(accept(3, 1, 5, 10))
	check("an equal accept", rowOf(w, 1, 4), "MsgAppResp 3→1 term 5 index 10 context ")
	w.Note(accept(3, 1, 5, 11))
	w.Note(accept(3, 1, 5, 12))
	w.Note(beat(3, 1, 5, nil))
	check("many at once", rowOf(w, 1, 5), "MsgAppResp 3→1 term 5 index 12 context ; MsgHeartbeatResp 3→1 term 5 index 0 context ")
	w.Note(beat(3, 1, 5, readCounter(2)))
	check("a read", rowOf(w, 1, 6), "MsgHeartbeatResp 3→1 term 5 index 0 context 0200000000000000")
	w.Note(beat(3, 1, 5, nil))
	check("then an answer without", rowOf(w, 1, 7), "MsgHeartbeatResp 3→1 term 5 index 0 context 0200000000000000")
	check("an older row", first, "")
	w.Note(accept(3, 2, 6, 1))
	w.Note(beat(3, 2, 6, nil))
	check("acks for another", rowOf(w, 1, 8), "")
	fresh := NewRowReader(1, 3)
	w = NewRowWriter(3)
	w.Note(accept(3, 1, 7, 4))
	restarted := rowOf(w, 2, 1)
	check("a new incarnation", restarted, "MsgAppResp 3→1 term 7 index 4 context ")
	w.Note(accept(3, 1, 7, 5))
	check("late rows of the old one", &fabric.Row{Owner: 3, Incarnation: 1, Version: 99, Sections: rowOf(w, 1, 1).Sections}, "refused")
	check("another member's row", &fabric.Row{Owner: 4, Incarnation: 9, Version: 1, Sections: first.Sections}, "refused")
	check("no section", &fabric.Row{Owner: 3, Incarnation: 2, Version: 5}, "")
	if got := observe(t, fresh, restarted); got == "" {
		t.Error("a reader that starts late loses the newest ack")
	}
}

// TestRowReaderRefuses: what an honest member's row never does.
func TestRowReaderRefuses(t *testing.T) {
	base := RowWriter{self: 3, ack: rowCell{5, 1, 10, 4, true}, hb: rowCell{5, 1, 7, 4, true}}
	for name, change := range map[string]func(w *RowWriter){
		"ack seq falls":                   func(w *RowWriter) { w.ack.seq-- },
		"ack term falls":                  func(w *RowWriter) { w.ack.seq++; w.ack.term-- },
		"ack index falls":                 func(w *RowWriter) { w.ack.seq++; w.ack.value-- },
		"ack addressee changes":           func(w *RowWriter) { w.ack.seq++; w.ack.to = 2 },
		"ack changes without an emission": func(w *RowWriter) { w.ack.value++ },
		"ack of term 0":                   func(w *RowWriter) { w.ack = rowCell{0, 1, 10, 5, true} },
		"ack to nobody":                   func(w *RowWriter) { w.ack = rowCell{6, 0, 10, 5, true} },
		"ack of index 0":                  func(w *RowWriter) { w.ack = rowCell{6, 1, 0, 5, true} },
		"ack vanishes":                    func(w *RowWriter) { w.ack = rowCell{} },
		"values without an emission":      func(w *RowWriter) { w.ack.seq = 0 },
		"hb seq falls":                    func(w *RowWriter) { w.hb.seq-- },
		"hb context falls":                func(w *RowWriter) { w.hb.seq++; w.hb.value-- },
		"hb context vanishes":             func(w *RowWriter) { w.hb.seq++; w.hb.value, w.hb.has = 0, false },
		"hb context that is not there":    func(w *RowWriter) { w.hb = rowCell{6, 1, 7, 5, false} },
		"hb addressee changes":            func(w *RowWriter) { w.hb.seq++; w.hb.to = 2 },
	} {
		r := NewRowReader(1, 3)
		start := base
		if got := observe(t, r, rowOf(&start, 1, 1)); got == "refused" {
			t.Fatal("the base is refused")
		}
		bad := base
		change(&bad)
		if got := observe(t, r, rowOf(&bad, 1, 2)); got != "refused" {
			t.Errorf("%s: %q", name, got)
		}
		good := base
		good.Note(accept(3, 1, 5, 11))
		if got := observe(t, r, rowOf(&good, 1, 2)); !strings.HasPrefix(got, "MsgAppResp") {
			t.Errorf("%s: the honest row after it makes %q", name, got)
		}
	}
}

func TestRowSectionFormat(t *testing.T) {
	w := NewRowWriter(3)
	w.Note(accept(3, 1, 5, 10))
	w.Note(beat(3, 2, 6, readCounter(0)))
	row := w.AppendSection([]byte("before"))
	if !bytes.HasPrefix(row, []byte("before")) {
		t.Fatal("AppendSection does not append")
	}
	compareGolden(t, "rowack.golden", hex.Dump(row[len("before"):]))

	s, ok := fabric.FindSection(row[len("before"):], fabric.SectionRaft)
	if !ok {
		t.Fatal("no section")
	}
	later := fabric.Section{ID: s.ID, Version: 2, Value: append(bytes.Clone(s.Value), 1, 2, 3)}
	later.Value[64] |= 0x80
	if ack, hb, err := parseRowSection(&later); err != nil || ack != w.ack || hb != w.hb {
		t.Errorf("a later version: %v, %v, %v", ack, hb, err)
	}
	for name, change := range map[string]func(s *fabric.Section){
		"version 0":     func(s *fabric.Section) { s.Version = 0 },
		"short":         func(s *fabric.Section) { s.Value = s.Value[:rowSectionLen-1] },
		"long":          func(s *fabric.Section) { s.Value = append(bytes.Clone(s.Value), 0) },
		"reserved bits": func(s *fabric.Section) { s.Value = bytes.Clone(s.Value); s.Value[64] |= 2 },
		"reserved byte": func(s *fabric.Section) { s.Value = bytes.Clone(s.Value); s.Value[71] = 1 },
	} {
		bad := s
		change(&bad)
		if _, _, err := parseRowSection(&bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzRowReader: no bytes make the reader panic, and what it makes is what the
// bytes say.
func FuzzRowReader(f *testing.F) {
	w := NewRowWriter(3)
	w.Note(accept(3, 1, 5, 10))
	w.Note(beat(3, 1, 5, readCounter(1)))
	one := w.AppendSection(nil)
	w.Note(accept(3, 1, 5, 11))
	f.Add(one, w.AppendSection(nil))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		r := NewRowReader(1, 3)
		for i, sections := range [][]byte{first, second} {
			msgs, err := r.Observe(nil, &fabric.Row{Owner: 3, Incarnation: 1, Version: uint64(1 + i), Sections: sections})
			if err != nil {
				if re, ok := errors.AsType[*RefusedError](err); !ok || re.Reason != RefusedRow || len(msgs) > 0 {
					t.Fatalf("%v with %v", msgs, err)
				}
				continue
			}
			if len(msgs) > 2 {
				t.Fatalf("%d messages of one row", len(msgs))
			}
			for _, m := range msgs {
				if m.GetFrom() != 3 || m.GetTo() != 1 || m.GetTerm() == 0 || CheckMessage(m, 3) != nil {
					t.Fatalf("made %v", m)
				}
				if !NewRowWriter(3).Note(m) {
					t.Fatalf("made %v, which no row carries", m)
				}
			}
		}
	})
}

func TestRowAcksAllocations(t *testing.T) {
	w, r := NewRowWriter(3), NewRowReader(1, 3)
	ack, hb := accept(3, 1, 5, 10), beat(3, 1, 5, nil)
	var msgs []*raftpb.Message
	section := make([]byte, 0, 128)
	version := uint64(0)
	n := testing.AllocsPerRun(1000, func() {
		w.Note(ack)
		w.Note(hb)
		version++
		section = w.AppendSection(section[:0])
		var err error
		if msgs, err = r.Observe(msgs[:0], &fabric.Row{Owner: 3, Incarnation: 1, Version: version, Sections: section}); err != nil || len(msgs) != 2 {
			t.Fatal(msgs, err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for two acks", n)
	}
}

func BenchmarkRowAcks(b *testing.B) {
	w, r := NewRowWriter(3), NewRowReader(1, 3)
	ack := accept(3, 1, 5, 10)
	var msgs []*raftpb.Message
	section := make([]byte, 0, 128)
	b.ReportAllocs()
	for version := uint64(1); b.Loop(); version++ {
		w.Note(ack)
		section = w.AppendSection(section[:0])
		msgs, _ = r.Observe(msgs[:0], &fabric.Row{Owner: 3, Incarnation: 1, Version: version, Sections: section})
		if len(msgs) != 1 {
			b.Fatal(msgs)
		}
	}
}
