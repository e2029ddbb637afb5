package raftdv

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// AppendPatch appends the part of m that belongs to its destination alone: at
// most fabric.MaxPatch bytes.
func AppendPatch(dst []byte, m *raftpb.Message) []byte {
	return appendPatch(dst, m, travelsAsProto(m))
}

func appendPatch(dst []byte, m *raftpb.Message, asProto bool) []byte {
	le := binary.LittleEndian
	var fixed [patchFixed]byte
	var flags uint16
	put := func(at int, v *uint64, flag uint16) {
		if v != nil {
			flags |= flag
			le.PutUint64(fixed[at:], *v)
		}
	}
	put(8, m.From, patchFrom)
	put(16, m.To, patchTo)
	put(24, m.Term, patchTerm)
	put(32, m.Index, patchIndex)
	put(40, m.LogTerm, patchLogTerm)
	put(48, m.Commit, patchCommit)
	if m.RejectHint != nil {
		flags |= patchRejectHint
	}
	if m.Vote != nil {
		flags |= patchVote
	}
	if m.Reject != nil {
		flags |= patchReject
		if *m.Reject {
			flags |= patchRejected
		}
	}
	context := m.Context
	switch {
	case asProto:
		flags |= patchProto
		context = nil
	case context != nil:
		flags |= patchContext
	}
	fixed[0] = patchVersion
	fixed[1] = patchTypeOf(m)
	le.PutUint16(fixed[2:], flags)
	le.PutUint16(fixed[4:], uint16(len(context)))
	dst = append(dst, fixed[:]...)
	if m.RejectHint != nil {
		dst = le.AppendUint64(dst, *m.RejectHint)
	}
	if m.Vote != nil {
		dst = le.AppendUint64(dst, *m.Vote)
	}
	return append(dst, context...)
}

func patchTypeOf(m *raftpb.Message) byte {
	if m.Type == nil || uint32(*m.Type) >= patchTypeInBody {
		return patchTypeInBody
	}
	return byte(*m.Type)
}

// PatchHeader is a parsed patch. Fields that are not set are zero.
type PatchHeader struct {
	// Type is -1 if only the body tells it.
	Type       raftpb.MessageType
	From, To   fabric.MemberID
	Term       uint64
	Index      uint64
	LogTerm    uint64
	Commit     uint64
	RejectHint uint64
	Vote       uint64
	Reject     bool
	// Context points into the parsed bytes. In the protobuf form it is in the
	// body instead.
	Context []byte

	flags uint16
}

// IsProto reports whether the body holds the message as protobuf.
func (h *PatchHeader) IsProto() bool { return h.flags&patchProto != 0 }

// ParsePatch parses a patch, in a few nanoseconds and without allocating, so
// that a message can be refused before its body is touched.
func ParsePatch(b []byte, h *PatchHeader) error {
	if len(b) == 0 {
		return badMessage("no patch")
	}
	if b[0] != patchVersion {
		return fmt.Errorf("%w: %d, this member speaks %d", ErrMessageVersion, b[0], patchVersion)
	}
	if len(b) < patchFixed {
		return badMessage("patch of %d bytes", len(b))
	}
	le := binary.LittleEndian
	*h = PatchHeader{
		Type: raftpb.MessageType(b[1]), flags: le.Uint16(b[2:]),
		From: fabric.MemberID(le.Uint64(b[8:])), To: fabric.MemberID(le.Uint64(b[16:])),
		Term: le.Uint64(b[24:]), Index: le.Uint64(b[32:]), LogTerm: le.Uint64(b[40:]), Commit: le.Uint64(b[48:]),
		Reject: le.Uint16(b[2:])&patchRejected != 0,
	}
	if err := h.checkFlags(le.Uint16(b[4:]), le.Uint16(b[6:])); err != nil {
		return err
	}
	rest := b[patchFixed:]
	if h.flags&patchRejectHint != 0 && len(rest) >= 8 {
		h.RejectHint, rest = le.Uint64(rest), rest[8:]
	} else if h.flags&patchRejectHint != 0 {
		return badMessage("patch of %d bytes ends before RejectHint", len(b))
	}
	if h.flags&patchVote != 0 && len(rest) >= 8 {
		h.Vote, rest = le.Uint64(rest), rest[8:]
	} else if h.flags&patchVote != 0 {
		return badMessage("patch of %d bytes ends before Vote", len(b))
	}
	if len(rest) != int(le.Uint16(b[4:])) {
		return badMessage("patch says %d bytes of context, has %d", le.Uint16(b[4:]), len(rest))
	}
	if h.flags&patchContext != 0 {
		h.Context = rest[:len(rest):len(rest)]
	}
	return nil
}

func (h *PatchHeader) checkFlags(context, reserved uint16) error {
	set := func(f uint16) bool { return h.flags&f != 0 }
	switch {
	case h.flags&^patchKnown != 0 || reserved != 0:
		return badMessage("reserved bits of the patch are not zero")
	case h.From != 0 && !set(patchFrom), h.To != 0 && !set(patchTo), h.Term != 0 && !set(patchTerm),
		h.Index != 0 && !set(patchIndex), h.LogTerm != 0 && !set(patchLogTerm), h.Commit != 0 && !set(patchCommit),
		set(patchRejected) && !set(patchReject):
		return badMessage("a field of the patch has a value and is not set")
	case context > maxPatchContext, context > 0 && !set(patchContext), set(patchContext) && set(patchProto):
		return badMessage("patch with a context of %d bytes and flags %#x", context, h.flags)
	}
	if h.Type == patchTypeInBody {
		if !set(patchProto) {
			return badMessage("no message type")
		}
		h.Type = -1
	}
	return nil
}
