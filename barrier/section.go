package barrier

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// Section fabric.SectionBarrier, version 1: what a member says of views and of
// its stream of agreed frames. Masks are over the ids of the view's
// configuration, sorted; lists over the members of the view, in its order.
//
//	offset  size  field                  moves
//	     0     8  view: number           rises only
//	     8     8  view: hash             changes only when the number rises
//	    16     4  generation             rises only
//	    20     4  flags                  1: a member of the view, never back within it; 2: wedged, likewise; 4: a cut follows; 8: a value follows;
//	                               16: leads the ballot that it promised
//	    24     8  sent                   rises only, within a generation; not at all once wedged
//	    32     8  promise: time          rises only, likewise
//	    40     4  promise: logical
//	    44     4  promised: round        the ballot rises only, within a view
//	    48     8  promised: owner
//	    56     4  accepted: round        likewise; never above what is promised
//	    60     4  barrier: logical
//	    64     8  accepted: owner
//	    72     8  barrier: time          rises only, within a generation
//	    80     8  high: time             rises only: above all stamps that its owner took part in
//	    88     4  high: logical
//	    92     4  beat                   freely: in microseconds, how often this row is published at least; 0: its owner says nothing of it
//	    96     8  hears                  freely: who is heard directly
//	   104     8  suspects               freely
//	   112     8  out                    of the leader of a ballot: whom that leaves out; of others 0
//	   120        received: a count and as many uvarints; each rises only, within a view. None if not a member
//	              cut, if its flag is set: likewise
//	              value, if its flag is set: what was accepted, as the difference to the view (see appendValue)
//
// All of this within one incarnation. A later version appends fields.
const (
	sectionVersion  = 1
	sectionFixedLen = 120
)

const (
	flagMember = 1 << iota
	flagWedged
	flagCut
	flagValue
	flagLeads
	knownFlags = 1<<iota - 1
)

// ballot numbers an attempt to decide a view. Its owner never uses it again,
// also after a restart.
type ballot struct {
	round uint32
	owner fabric.MemberID
}

func (b ballot) above(o ballot) bool {
	return b.round > o.round || b.round == o.round && b.owner > o.owner
}

// set is a set of members: bit i is the i-th id of the configuration.
type set uint64

func (s set) has(i int) bool { return i >= 0 && s>>i&1 != 0 }

// section is the decoded form.
type section struct {
	view       ViewID
	generation uint32
	flags      uint32
	sent       uint64
	promise    fabric.Stamp
	promised   ballot
	accepted   ballot
	barrier    fabric.Stamp
	high       fabric.Stamp
	beat       uint32
	hears      set
	suspects   set
	out        set
	received   []uint64
	cut        []uint64
	value      []byte
	raw        []byte // of a parsed one: what value points into
}

func (s *section) is(flag uint32) bool { return s.flags&flag != 0 }

func (s *section) append(dst []byte) []byte {
	le := binary.LittleEndian
	v := make([]byte, 0, 512)
	v = le.AppendUint64(v, s.view.Number)
	v = le.AppendUint64(v, s.view.Hash)
	v = le.AppendUint32(v, s.generation)
	v = le.AppendUint32(v, s.flags)
	v = le.AppendUint64(v, s.sent)
	v = le.AppendUint64(v, uint64(s.promise.Time))
	v = le.AppendUint32(v, s.promise.Logical)
	v = le.AppendUint32(v, s.promised.round)
	v = le.AppendUint64(v, uint64(s.promised.owner))
	v = le.AppendUint32(v, s.accepted.round)
	v = le.AppendUint32(v, s.barrier.Logical)
	v = le.AppendUint64(v, uint64(s.accepted.owner))
	v = le.AppendUint64(v, uint64(s.barrier.Time))
	v = le.AppendUint64(v, uint64(s.high.Time))
	v = le.AppendUint32(v, s.high.Logical)
	v = le.AppendUint32(v, s.beat)
	for _, m := range [...]set{s.hears, s.suspects, s.out} {
		v = le.AppendUint64(v, uint64(m))
	}
	v = appendCounts(v, s.received)
	if s.is(flagCut) {
		v = appendCounts(v, s.cut)
	}
	v = append(v, s.value...)
	return fabric.AppendSection(dst, fabric.Section{ID: fabric.SectionBarrier, Version: sectionVersion, Value: v})
}

// parse decodes. It uses the memory of what s was, and keeps none of raw's; after
// an error s is of no use but for that memory.
func (s *section) parse(raw *fabric.Section) error {
	s.raw = append(s.raw[:0], raw.Value...)
	b, le := s.raw, binary.LittleEndian
	if raw.Version < sectionVersion || len(b) < sectionFixedLen {
		return fmt.Errorf("barrier: section of version %d with %d bytes", raw.Version, len(b))
	}
	stamp := func(time, logical int) fabric.Stamp {
		return fabric.Stamp{Time: int64(le.Uint64(b[time:])), Logical: le.Uint32(b[logical:])}
	}
	*s = section{
		raw: s.raw, received: s.received, cut: s.cut,
		view:       ViewID{le.Uint64(b), le.Uint64(b[8:])},
		generation: le.Uint32(b[16:]), flags: le.Uint32(b[20:]), sent: le.Uint64(b[24:]),
		promise: stamp(32, 40), barrier: stamp(72, 60), high: stamp(80, 88),
		promised: ballot{le.Uint32(b[44:]), fabric.MemberID(le.Uint64(b[48:]))},
		accepted: ballot{le.Uint32(b[56:]), fabric.MemberID(le.Uint64(b[64:]))},
		beat:     le.Uint32(b[92:]), hears: set(le.Uint64(b[96:])), suspects: set(le.Uint64(b[104:])), out: set(le.Uint64(b[112:])),
	}
	r := reader{b: b[sectionFixedLen:]}
	s.received = r.counts(s.received[:0])
	if s.cut = s.cut[:0]; s.is(flagCut) {
		s.cut = r.counts(s.cut)
	}
	if s.is(flagValue) {
		s.value = r.b
	} else if len(r.b) > 0 && raw.Version == sectionVersion {
		r.bad = true
	}
	if r.bad {
		return fmt.Errorf("barrier: section of version %d with %d bytes: malformed lists", raw.Version, len(b))
	}
	if raw.Version == sectionVersion && s.flags&^knownFlags != 0 {
		return fmt.Errorf("barrier: reserved bits of a section: flags %#x", s.flags)
	}
	return s.valid()
}

// High is the latest stamp that a section names, for callers that refuse what
// is ahead of their clocks.
func High(raw *fabric.Section) (fabric.Stamp, error) {
	b, le := raw.Value, binary.LittleEndian
	if len(b) < sectionFixedLen {
		return fabric.Stamp{}, fmt.Errorf("barrier: section of version %d with %d bytes", raw.Version, len(b))
	}
	return fabric.Stamp{Time: max(int64(le.Uint64(b[32:])), int64(le.Uint64(b[72:])), int64(le.Uint64(b[80:])))}, nil
}

// ViewNumber is that of the view that a section's owner knows.
func ViewNumber(raw *fabric.Section) (uint64, bool) {
	if len(raw.Value) < sectionFixedLen {
		return 0, false
	}
	return binary.LittleEndian.Uint64(raw.Value), true
}

func (s *section) valid() error {
	switch {
	case s.generation == 0:
		return fmt.Errorf("barrier: a section without a generation")
	case s.accepted.above(s.promised):
		return fmt.Errorf("barrier: accepted %v above what was promised, %v", s.accepted, s.promised)
	case s.is(flagValue) != (s.accepted != ballot{}):
		return fmt.Errorf("barrier: accepted %v, and flags %#x", s.accepted, s.flags)
	case !s.is(flagLeads) && (s.out != 0 || s.is(flagCut)):
		return fmt.Errorf("barrier: who does not lead a ballot leaves nobody out and cuts nothing, flags %#x", s.flags)
	case !s.is(flagMember) && len(s.received) > 0:
		return fmt.Errorf("barrier: not a member, and received of %d", len(s.received))
	}
	return nil
}

// news reports whether s says something that others wait for, which old did not,
// besides promises.
func (s *section) news(old *section) bool {
	return s.view != old.view || s.generation != old.generation || s.flags != old.flags ||
		s.promised != old.promised || s.accepted != old.accepted || s.hears != old.hears || s.suspects != old.suspects ||
		s.is(flagWedged) && !slices.Equal(s.received, old.received) || !slices.Equal(s.cut, old.cut) || s.beat != old.beat
}

// follows is nil if an honest life can move from old to s.
func (s *section) follows(old *section) error {
	falls := func(what string, s, old any) error { return fmt.Errorf("%s falls from %v to %v", what, old, s) }
	switch {
	case s.view.Number < old.view.Number:
		return falls("view", s.view, old.view)
	case s.view.Number == old.view.Number && s.view != old.view:
		return fmt.Errorf("view %v, then %v", old.view, s.view)
	case s.sent < old.sent:
		return falls("sent", s.sent, old.sent)
	case s.promise.Before(old.promise):
		return falls("promise", s.promise, old.promise)
	case s.barrier.Before(old.barrier):
		return falls("barrier", s.barrier, old.barrier)
	case s.view != old.view:
		return nil
	case old.promised.above(s.promised):
		return falls("promised ballot", s.promised, old.promised)
	case old.accepted.above(s.accepted):
		return falls("accepted ballot", s.accepted, old.accepted)
	case old.is(flagWedged) && !s.is(flagWedged):
		return fmt.Errorf("wedged no more")
	case old.is(flagWedged) && (s.sent != old.sent || s.promise != old.promise):
		return fmt.Errorf("wedged, and stamps on")
	case len(s.received) != len(old.received):
		return fmt.Errorf("received of %d, then of %d", len(old.received), len(s.received))
	}
	for i := range s.received {
		if s.received[i] < old.received[i] {
			return falls("received", s.received, old.received)
		}
	}
	return nil
}

const valueSameConfig = 1

// appendValue appends v as the difference to the view before it, so that it
// fits a row:
//
//	flags (1): the configuration stays; floor; the configuration, if it changes (as in views)
//	members: a mask (8) over the ids of its configuration; for each of them 0, if its life is a member of the view before, otherwise
//	1, incarnation (8), generation
//	cuts: one for each member of the view before
func appendValue(dst []byte, v, former *View) []byte {
	le := binary.LittleEndian
	flags := byte(0)
	if sameConfig(&v.Config, &former.Config) {
		flags = valueSameConfig
	}
	dst = appendStamp(append(dst, flags), v.Floor)
	if flags == 0 {
		dst = binary.AppendUvarint(dst, v.Config.Epoch)
		for _, ids := range [...][]fabric.MemberID{v.Config.Voters, v.Config.Outgoing, v.Config.Learners} {
			dst = binary.AppendUvarint(dst, uint64(len(ids)))
			for _, id := range ids {
				dst = le.AppendUint64(dst, uint64(id))
			}
		}
	}
	var mask set
	for i, id := range v.Config.ids() {
		if _, ok := v.member(id); ok {
			mask |= 1 << i
		}
	}
	dst = le.AppendUint64(dst, uint64(mask))
	for _, l := range v.Members {
		if former.has(l) {
			dst = append(dst, 0)
			continue
		}
		dst = le.AppendUint64(append(dst, 1), l.Incarnation)
		dst = binary.AppendUvarint(dst, uint64(l.Generation))
	}
	for _, n := range v.Cuts {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// parseValue is the inverse of appendValue. What was appended to it is ignored:
// a later version of the section did.
func parseValue(b []byte, former *View) (*View, error) {
	r := reader{b: b}
	v := &View{Number: former.Number + 1, Former: former.hash(), Config: former.Config}
	flags := r.uvarint()
	v.Floor = r.stamp()
	if flags&valueSameConfig == 0 {
		v.Config = Config{r.uvarint(), r.ids(), r.ids(), r.ids()}
	}
	mask := set(r.u64())
	for i, id := range v.Config.ids() {
		if !mask.has(i) {
			continue
		}
		l := Life{Member: id}
		if r.uvarint() == 0 {
			j, ok := former.member(id)
			if !ok {
				return nil, fmt.Errorf("%w: view %d: %v is said to stay and was no member", ErrView, v.Number, id)
			}
			l = former.Members[j]
			v.Since = append(v.Since, former.Since[j])
		} else {
			l.Incarnation, l.Generation = r.u64(), r.u32()
			v.Since = append(v.Since, v.Number)
		}
		v.Members = append(v.Members, l)
	}
	for range former.Members {
		v.Cuts = append(v.Cuts, r.uvarint())
	}
	if r.bad {
		return nil, fmt.Errorf("%w: view %d: value of %d bytes", ErrView, v.Number, len(b))
	}
	return v, v.validate()
}

func sameConfig(a, b *Config) bool {
	return a.Epoch == b.Epoch && slices.Equal(a.Voters, b.Voters) && slices.Equal(a.Outgoing, b.Outgoing) && slices.Equal(a.Learners, b.Learners)
}
