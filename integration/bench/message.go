package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	term = 7
	// minSize leaves room for the index that each entry carries.
	minSize = 8
	// slabSteps is how many steps share one allocation: fresh memory for
	// every message at little cost of the harness's own.
	slabSteps = 64
)

// maker makes the messages of a leader, in memory that is never used again:
// transports may keep what they were given.
type maker struct {
	from    uint64
	to      []uint64
	pattern []byte
	msgs    []*raftpb.Message // what step returns; as short-lived as raft's

	left int // steps in the slab
	slab slab
}

type slab struct {
	msgs    []raftpb.Message
	entries []raftpb.Entry
	refs    []*raftpb.Entry
	data    []byte
	fields  []fields
}

// fields are what the pointers of a step's messages point to.
type fields struct {
	typ                    raftpb.MessageType
	etyp                   raftpb.EntryType
	term, prev, commit, ix uint64
}

func newMaker(from types.ID, to []*member, size int) *maker {
	m := &maker{from: uint64(from), pattern: make([]byte, size), msgs: make([]*raftpb.Message, len(to))}
	for _, p := range to {
		m.to = append(m.to, uint64(p.id))
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range m.pattern {
		m.pattern[i] = byte(rng.Uint32())
	}
	return m
}

// step is what one Ready of a leader with one new entry asks to send: a MsgApp
// for each follower, all with that entry.
func (m *maker) step(index uint64) []*raftpb.Message {
	if m.left == 0 {
		m.refill()
	}
	m.left--
	s, n := &m.slab, len(m.to)
	f := &s.fields[m.left]
	*f = fields{raftpb.MsgApp, raftpb.EntryNormal, term, index - 1, index - 1, index}
	data := s.data[m.left*len(m.pattern):][:len(m.pattern):len(m.pattern)]
	copy(data, m.pattern)
	binary.LittleEndian.PutUint64(data, index)
	e := &s.entries[m.left]
	e.Type, e.Term, e.Index, e.Data = &f.etyp, &f.term, &f.ix, data
	for i := range m.to {
		at := m.left*n + i
		s.refs[at] = e
		msg := &s.msgs[at]
		msg.Type, msg.From, msg.To, msg.Term = &f.typ, &m.from, &m.to[i], &f.term
		msg.LogTerm, msg.Index, msg.Commit = &f.term, &f.prev, &f.commit
		msg.Entries = s.refs[at : at+1 : at+1]
		m.msgs[i] = msg
	}
	return m.msgs
}

func (m *maker) refill() {
	n := slabSteps * len(m.to)
	m.left = slabSteps
	m.slab = slab{
		msgs: make([]raftpb.Message, n), entries: make([]raftpb.Entry, slabSteps), refs: make([]*raftpb.Entry, n),
		data: make([]byte, slabSteps*len(m.pattern)), fields: make([]fields, slabSteps),
	}
}

// accept is a follower's answer to the MsgApp that ends at index.
func accept(from, to types.ID, index uint64) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgAppResp.Enum(), From: new(uint64(from)), To: new(uint64(to)),
		Term: new(uint64(term)), Index: new(index),
	}
}

// entryIndex returns the index of the one entry of m, if m is what step made.
func entryIndex(m *raftpb.Message, size int) (uint64, error) {
	if m.GetType() != raftpb.MsgApp || m.GetTerm() != term || len(m.Entries) != 1 {
		return 0, fmt.Errorf("a message that was not sent: %v", m)
	}
	e := m.Entries[0]
	if len(e.Data) != size || e.GetIndex() != m.GetIndex()+1 || binary.LittleEndian.Uint64(e.Data) != e.GetIndex() {
		return 0, fmt.Errorf("entry %d is damaged: %d bytes, after index %d", e.GetIndex(), len(e.Data), m.GetIndex())
	}
	return e.GetIndex(), nil
}
