package raftdv

import "go.etcd.io/raft/v3/raftpb"

// raft keeps entries for long (etcd: the last ten thousand) and forgets
// messages at once, so the two do not share memory. Small things come from
// chunks: one allocation serves many, and what is kept keeps its whole chunk
// alive, with all that the chunk points to. Two rules bound that:
//
//   - a message with entries is allocated alone, as it points to all of them;
//   - an entry with ownData bytes or more is allocated alone, as is its data.
//
// So an entry keeps at most entriesPerChunk·ownData bytes of other entries, and
// those arrived from the same peer just before or after it: a log keeps and
// forgets them together.
const (
	messagesPerChunk = 16       // 4.6 KiB
	entriesPerChunk  = 32       // 3.5 KiB
	dataPerChunk     = 16 << 10 // bytes
	ownData          = 2 << 10
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

func (s *slabs) message(entries int) *messageSlab {
	if entries > 0 {
		return new(messageSlab)
	}
	if len(s.messages) == 0 {
		s.messages = make([]messageSlab, messagesPerChunk)
	}
	m := &s.messages[0]
	s.messages = s.messages[1:]
	return m
}

func (s *slabs) entry(data int) *entrySlab {
	if data >= ownData {
		return new(entrySlab)
	}
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
