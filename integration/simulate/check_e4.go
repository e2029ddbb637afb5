package simulate

import (
	"encoding/binary"
	"time"

	"github.com/raftdv/dv/fabric"
)

// E4: one endorsement per member and attempt, across restarts: a member that
// begins anew endorses nobody until the attempts of its last life are over.

// Where the endorsement is in the arbiters' section (raftdv/election/section.go).
const (
	endorsedTerm    = 24
	endorsedAttempt = 32
	endorsedNominee = 40
)

// endorsementCheck reads the rows that members publish.
type endorsementCheck struct {
	window time.Duration // in which attempts of a last life may be on
	words  map[attempt]word
}

type attempt struct {
	member *member
	term   uint64
	number uint32
}

// word is what a member said in an attempt: first when, by its own clock.
type word struct {
	nominee fabric.MemberID
	inc     uint64
	at      time.Duration
}

func (k *endorsementCheck) published(n *node, row *fabric.Row) {
	s, ok := fabric.FindSection(row.Sections, fabric.SectionArbiter)
	if !ok || len(s.Value) < endorsedNominee+8 {
		return
	}
	le := binary.LittleEndian
	is := word{fabric.MemberID(le.Uint64(s.Value[endorsedNominee:])), n.inc, n.m.clock()}
	if is.nominee == 0 {
		return
	}
	at := attempt{n.m, le.Uint64(s.Value[endorsedTerm:]), le.Uint32(s.Value[endorsedAttempt:])}
	was, said := k.words[at]
	if said && was.nominee != is.nominee && (was.inc == is.inc || is.at < was.at+k.window) {
		n.c.fail("E4", "%s endorses %s in attempt %d of term %d, %v after %s", n.m.id, is.nominee, at.number, at.term, is.at-was.at, was.nominee)
	}
	if !said || was.inc != is.inc {
		n.c.report.Endorsements++
		k.words[at] = is
	}
}
