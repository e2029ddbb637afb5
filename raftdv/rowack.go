package raftdv

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// Acks travel as state, not as messages (protocol §6.3). A follower's accepts
// and heartbeat answers are cumulative: their leader takes a maximum. So the
// follower writes the newest of each into its row, the fabric carries the
// newest row, and the leader makes one message of each rise of a counter. A
// thousand accepts between two looks cost one message.
//
// R1: every message made from a row equals one that that member's raft emitted
// to that addressee.
//
// # Why the fields are bound together
//
// (term, to, index) is always one emission, or the one of the greatest index
// among those of one (term, to). Pairing the newest term with the greatest
// index ever would claim entries of a log that a newer leader has overwritten:
// the leader commits what its follower lacks. Within one term there is one
// leader, whose log the follower's matches up to index for as long as the term
// lasts, so the greatest index stays true when raft repeats an older one.
//
// A read context (hb) is the leader's counter of reads in this term: having
// answered c, a member has answered everything below. Saying it again with a
// later answer that has no context repeats an emission, and raft takes the
// maximum of what it hears.
//
// # Why equal emissions count
//
// After ReportUnreachable a leader keeps an idle follower in probe until an
// equal accept repeats, and CheckQuorum lives on heartbeat answers that all look
// alike. So seq counts emissions, and a rise makes a message whether anything
// else changed or not. Nothing else in a row does: a member whose raft is stuck
// and whose fabric lives must not look active.
//
// # Order among rows and frames
//
// A leader may see an accept before a rejection that was emitted before it, an
// answer to a heartbeat before the accept that was emitted before it, and so
// on: rows and frames overtake each other. raft allows for every order and for
// loss. In particular a late rejection whose index is at or below Match is
// stale and ignored, one above it sends the leader back to probe at Match+1,
// which costs a round trip and no safety, as Match never falls. A rejection
// seen early does the same. Observe hands over the accept first, so that the
// heartbeat answer does not make the leader send what was just acknowledged.
//
// # Section SectionRaft, version 1
//
//	offset  size  field           moves
//	     0     8  ack: term       rises only
//	     8     8  ack: addressee  changes only when ack: term rises
//	    16     8  ack: index      rises only, while ack: term stays
//	    24     8  ack: seq        rises only; 0: there is none, and all is zero
//	    32     8  hb: term        rises only
//	    40     8  hb: addressee   changes only when hb: term rises
//	    48     8  hb: context     rises only, while hb: term stays
//	    56     8  hb: seq         rises only; 0: there is none, and all is zero
//	    64     1  flags: bit 0: hb has a context; set once, while hb: term stays
//	    65     7  reserved (zero)
//
// All of this within one incarnation; a restart begins anew. A later version
// appends fields, so that this much can always be read.
const (
	rowSectionVersion = 1
	rowSectionLen     = 72
	rowHasContext     = 1
)

// rowCell is one line of cumulative state: the maximum of value for (term, to).
type rowCell struct {
	term, to, value, seq uint64
	has                  bool // value counts
}

// note takes an emission, or reports that it cannot be represented.
func (c *rowCell) note(term, to, value uint64, has bool) bool {
	switch {
	case c.seq == 0 || term > c.term:
		*c = rowCell{term, to, value, c.seq, has}
	case term < c.term || to != c.to:
		return false
	case has:
		c.value = max(c.value, value)
		c.has = true
	}
	c.seq++
	return true
}

// follows is nil if an honest member can move from old to c.
func (c *rowCell) follows(old *rowCell) error {
	switch {
	case c.seq < old.seq, c.term < old.term:
		return fmt.Errorf("falls from %v to %v", *old, *c)
	case c.seq == old.seq && *c != *old:
		return fmt.Errorf("changes from %v to %v without an emission", *old, *c)
	case c.term > old.term:
		return nil
	case old.seq != 0 && c.to != old.to:
		return fmt.Errorf("changes its addressee within term %d from %x to %x", c.term, old.to, c.to)
	case c.value < old.value, old.has && !c.has:
		return fmt.Errorf("falls from %v to %v within a term", *old, *c)
	}
	return nil
}

// RowWriter keeps the acks of one member's raft. It has neither lock nor clock:
// the caller serialises Note, AppendSection and the row's version, so that a
// higher version never shows less.
type RowWriter struct {
	self    fabric.MemberID
	ack, hb rowCell
}

// NewRowWriter returns the writer of a member that begins an incarnation.
func NewRowWriter(self fabric.MemberID) *RowWriter { return &RowWriter{self: self} }

// Note takes a message that raft handed to Send, and nothing else. It reports
// whether the row carries it now and has changed; otherwise the message has to
// go as a frame.
func (w *RowWriter) Note(m *raftpb.Message) bool {
	if m.GetTerm() == 0 || m.GetTo() == 0 || m.GetFrom() != uint64(w.self) || !plain(m) {
		return false
	}
	switch m.GetType() {
	case raftpb.MsgAppResp:
		// Without an index it is a sign of life to a leader of an older term.
		if m.GetIndex() == 0 || m.Context != nil {
			return false
		}
		return w.ack.note(*m.Term, *m.To, *m.Index, true)
	case raftpb.MsgHeartbeatResp:
		if m.Index != nil {
			return false
		}
		switch len(m.Context) {
		case 0:
			return m.Context == nil && w.hb.note(*m.Term, *m.To, 0, false)
		case readContext:
			return w.hb.note(*m.Term, *m.To, binary.LittleEndian.Uint64(m.Context), true)
		}
	}
	return false
}

// RepeatDelay is for how long a row that holds repeats alone may wait for company.
const RepeatDelay = 5 * time.Millisecond

// Repeats reports whether m is an accept that says no more than what the row says
// already: a follower answers each commit index that has no entries with one, so that
// half of all accepts are such. It counts, and has to be noted; but raft does not wait
// for it, unless the leader probes this follower, and then only for RepeatDelay. Call
// it before Note.
func (w *RowWriter) Repeats(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgAppResp && w.ack.seq > 0 && m.GetTerm() == w.ack.term && m.GetTo() == w.ack.to && m.GetIndex() <= w.ack.value
}

// plain reports whether m has no field that a row has no place for.
func plain(m *raftpb.Message) bool {
	return m.LogTerm == nil && m.Commit == nil && m.Vote == nil && m.Reject == nil && m.RejectHint == nil &&
		len(m.Entries) == 0 && !travelsAsProto(m)
}

// Empty reports whether nothing was noted yet.
func (w *RowWriter) Empty() bool { return w.ack.seq|w.hb.seq == 0 }

// AppendSection appends the row section, with its header, to a row's sections.
func (w *RowWriter) AppendSection(dst []byte) []byte {
	le := binary.LittleEndian
	value := make([]byte, 0, rowSectionLen)
	for _, c := range [...]*rowCell{&w.ack, &w.hb} {
		for _, v := range [...]uint64{c.term, c.to, c.value, c.seq} {
			value = le.AppendUint64(value, v)
		}
	}
	flags := uint64(0)
	if w.hb.has {
		flags = rowHasContext
	}
	value = le.AppendUint64(value, flags)
	return fabric.AppendSection(dst, fabric.Section{ID: fabric.SectionRaft, Version: rowSectionVersion, Value: value})
}

func parseRowSection(s *fabric.Section) (ack, hb rowCell, err error) {
	b := s.Value
	if s.Version < rowSectionVersion || len(b) < rowSectionLen || s.Version == rowSectionVersion && len(b) != rowSectionLen {
		return ack, hb, fmt.Errorf("section of version %d with %d bytes", s.Version, len(b))
	}
	le := binary.LittleEndian
	flags := le.Uint64(b[64:])
	if s.Version == rowSectionVersion && flags&^rowHasContext != 0 {
		return ack, hb, fmt.Errorf("reserved bits %#x", flags)
	}
	ack = rowCell{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]), true}
	hb = rowCell{le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:]), le.Uint64(b[56:]), flags&rowHasContext != 0}
	if ack.seq == 0 {
		ack.has = false
	}
	if err := ack.valid(true); err != nil {
		return ack, hb, fmt.Errorf("ack %w", err)
	}
	if err := hb.valid(false); err != nil {
		return ack, hb, fmt.Errorf("heartbeat answer %w", err)
	}
	return ack, hb, nil
}

func (c *rowCell) valid(needsValue bool) error {
	switch {
	case c.seq == 0 && *c != rowCell{}:
		return fmt.Errorf("%v has values and no emission", *c)
	case c.seq != 0 && (c.term == 0 || c.to == 0), c.seq != 0 && needsValue && c.value == 0, !c.has && c.value != 0:
		return fmt.Errorf("%v is none that raft emits", *c)
	}
	return nil
}
