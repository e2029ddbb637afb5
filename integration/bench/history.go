package bench

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"go.etcd.io/raft/v3/raftpb"
)

const (
	// minProposal holds the number of the client and that of its proposal.
	minProposal = 16
	// markEvery is the number of entries between two marks of a history: a
	// difference is found to lie between two of them.
	markEvery = 64
	// maxMarks bounds the marks that are kept, the newest ones.
	maxMarks = 1 << 16
)

// proposal is what a client writes: its number, how many it has made, and the
// rest of size bytes that depend on both.
func proposal(client int, seq uint64, size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b, uint64(client))
	binary.LittleEndian.PutUint64(b[8:], seq)
	for i := minProposal; i < size; i++ {
		b[i] = byte(seq) + byte(i)
	}
	return b
}

func parseProposal(b []byte) (client, seq uint64) {
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

// historySeed is one for all members.
var historySeed = maphash.MakeSeed()

// history is what one member has applied. The checks: entries come in order,
// each proposal once and in the order in which its client made them, and the
// whole is the same on all members. It has one user at a time.
type history struct {
	size int
	last uint64 // index
	sum  uint64 // of all entries so far, each with its index and content
	// seqs has the last proposal of each client.
	seqs []uint64
	// marks has the sums at multiples of markEvery; marks[0] is that at
	// firstMark*markEvery.
	marks     []uint64
	firstMark uint64
}

func newHistory(clients, size int, last uint64) *history {
	return &history{size: size, last: last, seqs: make([]uint64, clients), firstMark: last/markEvery + 1}
}

// apply takes the next entry.
func (h *history) apply(e *raftpb.Entry) error {
	if e.GetIndex() != h.last+1 {
		return fmt.Errorf("entry %d was applied where %d was due", e.GetIndex(), h.last+1)
	}
	h.last = e.GetIndex()
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], h.sum)
	binary.LittleEndian.PutUint64(head[8:], h.last)
	h.sum = maphash.Bytes(historySeed, head[:]) ^ maphash.Bytes(historySeed, e.GetData())
	if h.last%markEvery == 0 {
		if h.marks = append(h.marks, h.sum); len(h.marks) > maxMarks {
			h.marks = append(h.marks[:0], h.marks[maxMarks/2:]...)
			h.firstMark += maxMarks / 2
		}
	}
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		return nil // a new leader's
	}
	return h.note(e.GetData())
}

// note takes a proposal.
func (h *history) note(data []byte) error {
	if len(data) != h.size {
		return fmt.Errorf("entry %d has %d bytes, proposals have %d", h.last, len(data), h.size)
	}
	client, seq := parseProposal(data)
	if client >= uint64(len(h.seqs)) {
		return fmt.Errorf("entry %d is a proposal of client %d: there are %d", h.last, client, len(h.seqs))
	}
	if want := h.seqs[client] + 1; seq != want {
		return fmt.Errorf("entry %d is proposal %d of client %d where %d was due: one was lost, applied twice or out of order", h.last, seq, client, want)
	}
	h.seqs[client] = seq
	return nil
}

// equal says where two histories of the same length differ.
func (h *history) equal(other *history) error {
	if h.last != other.last {
		return fmt.Errorf("one has applied %d entries, the other %d", h.last, other.last)
	}
	if h.sum == other.sum {
		return nil
	}
	from := max(h.firstMark, other.firstMark)
	for i := from; i <= h.last/markEvery; i++ {
		if h.marks[i-h.firstMark] != other.marks[i-other.firstMark] {
			return fmt.Errorf("what they applied differs for the first time after entry %d, at entry %d or before", (i-1)*markEvery, i*markEvery)
		}
	}
	return fmt.Errorf("what they applied differs after entry %d", h.last/markEvery*markEvery)
}

// acknowledged checks that the last proposal of each client is the one that it
// was told of.
func (h *history) acknowledged(acked []uint64) error {
	for client, want := range acked {
		if got := h.seqs[client]; got != want {
			return fmt.Errorf("client %d was told of %d proposals, %d were applied", client, want, got)
		}
	}
	return nil
}
