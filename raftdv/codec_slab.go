package raftdv

import "go.etcd.io/raft/v3/raftpb"

// raft keeps entries for long (etcd: the last ten thousand) and forgets
// messages at once, so they do not share memory. Each comes from chunks: one
// allocation serves many, and all that a kept entry keeps alive besides itself
// is its chunk, whose other parts arrived from the same peer just before or
// after it, so that they are kept and forgotten together.
const (
	messagesPerChunk = 16       // 4.6 KiB
	entriesPerChunk  = 32       // 3.5 KiB
	dataPerChunk     = 16 << 10 // bytes
	// ownData and above are allocated alone.
	ownData = dataPerChunk / 4
)

// messageSlab is a message with everything that it points to, but for the
// entries and what does not fit.
type messageSlab struct {
	m                              raftpb.Message
	from, to, term, index, logTerm uint64
	commit, rejectHint, vote       uint64
	entries                        [1]*raftpb.Entry
	context                        [8]byte
	typ                            raftpb.MessageType
	reject                         bool
}

type entrySlab struct {
	e           raftpb.Entry
	term, index uint64
	typ         raftpb.EntryType
}

// slabs hands out zeroed memory that belongs to the caller. Not for concurrent
// use; what it handed out is independent of it.
type slabs struct {
	messages []messageSlab
	entries  []entrySlab
	bytes    []byte
}

func (s *slabs) message() *messageSlab {
	if len(s.messages) == 0 {
		s.messages = make([]messageSlab, messagesPerChunk)
	}
	m := &s.messages[0]
	s.messages = s.messages[1:]
	return m
}

func (s *slabs) entry() *entrySlab {
	if len(s.entries) == 0 {
		s.entries = make([]entrySlab, entriesPerChunk)
	}
	e := &s.entries[0]
	s.entries = s.entries[1:]
	return e
}

// copy returns a copy of b that is not nil.
func (s *slabs) copy(b []byte) []byte {
	n := len(b)
	if n >= ownData {
		return append(make([]byte, 0, n), b...)
	}
	if len(s.bytes) < n || s.bytes == nil {
		s.bytes = make([]byte, dataPerChunk)
	}
	c := s.bytes[:n:n]
	s.bytes = s.bytes[n:]
	copy(c, b)
	return c
}
