package raftdv

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// A raft message travels as two parts. The patch holds the fields that differ
// between destinations, the body what equal messages to several followers
// share: its entries. Body and patch become those of a fabric frame, so a
// MsgApp to n followers is encoded once.
//
// Both are little-endian, and there is one encoding of a message, the protobuf
// form excepted. A nil field stays nil and an empty one empty: what is decoded
// is proto.Equal to what was encoded.
//
// # Patch, version 1
//
//	offset  size  field
//	     0     1  version: refused if not ours
//	     1     1  message type; 255: see the body (protobuf form only)
//	     2     2  flags
//	     4     2  length of the context
//	     6     2  reserved (zero)
//	     8     8  From
//	    16     8  To
//	    24     8  Term
//	    32     8  Index
//	    40     8  LogTerm
//	    48     8  Commit
//	    56     8  RejectHint, if its flag is set
//	     –     8  Vote, if its flag is set
//	     –     n  context
//
//	flag bit  meaning
//	 0 … 5    From, To, Term, Index, LogTerm, Commit are set; unset ones are zero
//	 6, 7     RejectHint, Vote are present
//	 8, 9     Reject is set; its value
//	 10       the context is set
//	 11       protobuf form
//	 12 … 15  reserved (zero)
//
// # Body, version 1 (empty if there are no entries)
//
//	offset  size  field
//	     0     4  number of entries, at least 1
//	     4     4  reserved (zero)
//	     8  24·n  entry headers
//	     –     –  the entries' data, one after the other
//
//	offset  size  entry header
//	     0     1  flags: 0 Term, 1 Index, 2 Type, 3 Data are set; unset ones are
//	              zero; 4: the data is the entry as protobuf, all else is zero
//	     1     1  type
//	     2     2  reserved (zero)
//	     4     4  length of the data
//	     8     8  Term
//	    16     8  Index
//
// # Protobuf form
//
// What the patch has no room for (a snapshot, responses, unknown fields, a
// context above maxPatchContext, an unset or large type) makes the whole
// message but its entries travel as protobuf in the body: length 4, reserved 4
// (zero), protobuf, then the entries as above if there are any. The patch still
// shows all of its fields but the context; the decoder refuses a message whose
// patch says something else than its protobuf.
const (
	patchVersion = 1
	patchFixed   = 56
	// maxPatchContext leaves room in fabric.MaxPatch for what comes later.
	maxPatchContext = 512
	patchTypeInBody = 255

	bodyHeader  = 8
	entryHeader = 24
	// maxNested bounds the messages within the protobuf form (responses and
	// their entries), which take far more memory than wire. raft sends none.
	maxNested = 1024
)

// The flags of a patch.
const (
	patchFrom uint16 = 1 << iota
	patchTo
	patchTerm
	patchIndex
	patchLogTerm
	patchCommit
	patchRejectHint
	patchVote
	patchReject
	patchRejected
	patchContext
	patchProto
	patchKnown = 1<<iota - 1
)

// The flags of an entry.
const (
	entryTerm byte = 1 << iota
	entryIndex
	entryType
	entryData
	entryProto
	entryKnown = 1<<iota - 1
)

var (
	// ErrBadMessage: the bytes are no raft message of this format.
	ErrBadMessage = errors.New("malformed raft message")
	// ErrMessageVersion: the message is of a format that this member does not
	// speak.
	ErrMessageVersion = errors.New("raft message of another version")
)

func badMessage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadMessage}, args...)...)
}

// travelsAsProto reports whether the patch has no room for m. Entries do not
// matter: each of them finds its own form.
func travelsAsProto(m *raftpb.Message) bool {
	return m.Snapshot != nil || len(m.Responses) > 0 || len(m.Context) > maxPatchContext ||
		m.Type == nil || uint32(*m.Type) >= patchTypeInBody || len(m.ProtoReflect().GetUnknown()) > 0
}

// SameBody reports whether the bodies of a and b are the same, so that one
// frame serves both. It compares identities, not contents: raft hands the same
// entries to all followers.
func SameBody(a, b *raftpb.Message) bool {
	return !travelsAsProto(a) && !travelsAsProto(b) && sameEntries(a, b)
}

func sameEntries(a, b *raftpb.Message) bool {
	if len(a.Entries) != len(b.Entries) {
		return false
	}
	if len(a.Entries) == 0 || &a.Entries[0] == &b.Entries[0] {
		return true
	}
	for i, e := range a.Entries {
		if e != b.Entries[i] {
			return false
		}
	}
	return true
}

// maxControlBytes bounds what may be sent ahead of log entries.
const maxControlBytes = 4096

// Classify gives the delivery class and the lane of a message. Orders that
// matter are kept by class fifo; nothing in raft relies on an order between
// lanes. Forwarded proposals share the lane of log entries, as they are as
// large, and so does any other message that is too large to go first.
func Classify(m *raftpb.Message) (fabric.Class, fabric.Lane) {
	switch m.GetType() {
	case raftpb.MsgApp:
		return fabric.ClassFIFO, fabric.LaneAppend
	case raftpb.MsgSnap:
		return fabric.ClassFIFO, fabric.LaneBulk
	case raftpb.MsgProp:
		return fabric.ClassUnordered, fabric.LaneAppend
	case raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow:
		return fabric.ClassFIFO, fabric.LaneControl
	case raftpb.MsgAppResp:
		if m.GetReject() {
			return fabric.ClassFIFO, fabric.LaneControl
		}
	}
	return fabric.ClassUnordered, smallLane(m)
}

func smallLane(m *raftpb.Message) fabric.Lane {
	size := len(m.Context) + len(m.Entries)*entryHeader
	for _, e := range m.Entries {
		size += len(e.GetData())
	}
	if size > maxControlBytes || m.Snapshot != nil {
		return fabric.LaneAppend
	}
	return fabric.LaneControl
}
