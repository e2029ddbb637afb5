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
	// idle is how many steps the memory of a message rests at least after all
	// followers were handed it.
	idle = 128
)

// maker makes the messages of a leader. It goes round in memory for window
// steps, which may be under way, and idle more: a transport is through with
// what was delivered long ago. So nearly all that is allocated during a
// measurement is the transport's, and nearly all CPU time.
type maker struct {
	from    uint64
	to      []uint64
	pattern []byte
	msgs    []*raftpb.Message // what step returns; as short-lived as raft's
	steps   []stepMemory
	next    int
}

// stepMemory is all that the messages of one step point to.
type stepMemory struct {
	msgs  []raftpb.Message // one for each follower
	refs  []*raftpb.Entry  // one for each of msgs, as raft copies them
	entry raftpb.Entry
	data  []byte
	fields
}

// fields are the numbers of a step's messages point to.
type fields struct {
	typ                    raftpb.MessageType
	etyp                   raftpb.EntryType
	term, prev, commit, ix uint64
}

func newMaker(from types.ID, to []*member, size, window int) *maker {
	m := &maker{from: uint64(from), pattern: make([]byte, size), msgs: make([]*raftpb.Message, len(to)), steps: make([]stepMemory, window+idle)}
	for _, p := range to {
		m.to = append(m.to, uint64(p.id))
	}
	m.renew()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range m.pattern {
		m.pattern[i] = byte(rng.Uint32())
	}
	return m
}

// renew goes on with memory that nobody has seen.
func (m *maker) renew() {
	m.steps = make([]stepMemory, len(m.steps))
	for i := range m.steps {
		m.steps[i] = stepMemory{
			msgs: make([]raftpb.Message, len(m.to)), refs: make([]*raftpb.Entry, len(m.to)), data: make([]byte, len(m.pattern)),
		}
	}
}

// step is what one Ready of a leader with one new entry asks to send: a MsgApp
// for each follower, all with that entry.
func (m *maker) step(index uint64) []*raftpb.Message {
	s := &m.steps[m.next]
	if m.next++; m.next == len(m.steps) {
		m.next = 0
	}
	s.fields = fields{raftpb.MsgApp, raftpb.EntryNormal, term, index - 1, index - 1, index}
	f := &s.fields
	copy(s.data, m.pattern)
	binary.LittleEndian.PutUint64(s.data, index)
	e := &s.entry
	e.Type, e.Term, e.Index, e.Data = &f.etyp, &f.term, &f.ix, s.data
	for i := range m.to {
		s.refs[i] = e
		msg := &s.msgs[i]
		msg.Type, msg.From, msg.To, msg.Term = &f.typ, &m.from, &m.to[i], &f.term
		msg.LogTerm, msg.Index, msg.Commit = &f.term, &f.prev, &f.commit
		msg.Entries = s.refs[i : i+1 : i+1]
		m.msgs[i] = msg
	}
	return m.msgs
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
