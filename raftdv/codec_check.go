package raftdv

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// RefusedError says why a message, frame or row of a peer was not used.
type RefusedError struct {
	From   fabric.MemberID // the owner of the link
	Reason RefuseReason
	Err    error
}

// Error names the peer and the fault.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("from %s: refused (%s): %v", e.From, e.Reason, e.Err)
}

// Unwrap gives the fault.
func (e *RefusedError) Unwrap() error { return e.Err }

func refused(from fabric.MemberID, reason RefuseReason, format string, args ...any) error {
	return &RefusedError{From: from, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// CheckHeader decides whether a message that came over the link of peer may be
// meant for raft at self. raft itself believes the From of any message, and
// takes one without a term, or of a local type, for its own. The result is nil
// or a *RefusedError. It does not allocate for good messages.
//
// MsgProp, MsgReadIndex and MsgTransferLeader are forwarded with their original
// From, which may be any member.
func CheckHeader(h *PatchHeader, peer, self fabric.MemberID) error {
	forwarded := h.Type == raftpb.MsgProp || h.Type == raftpb.MsgReadIndex || h.Type == raftpb.MsgTransferLeader
	switch {
	case h.From == 0, h.From != peer && !forwarded:
		return refused(peer, RefusedSender, "%v says it is from %s: is that member's key or certificate used elsewhere?", h.Type, h.From)
	case raft.IsLocalMsgTarget(uint64(h.From)):
		return refused(peer, RefusedSender, "%v says it is from a storage thread", h.Type)
	case h.To != self:
		return refused(peer, RefusedAddressee, "%v is for %s, this is %s", h.Type, h.To, self)
	case h.Type < 0 || raft.IsLocalMsg(h.Type):
		return refused(peer, RefusedUnsafe, "%v never leaves a member", h.Type)
	case h.Type == raftpb.MsgProp || h.Type == raftpb.MsgReadIndex:
		if h.Term != 0 {
			return refused(peer, RefusedUnsafe, "%v with term %d: raft panics when it forwards one", h.Type, h.Term)
		}
	case h.Term == 0:
		return refused(peer, RefusedUnsafe, "%v without a term", h.Type)
	}
	return nil
}

// CheckMessage is CheckHeader for what it cannot see: it refuses shapes that
// raft never sends and panics on. m has passed CheckHeader.
func CheckMessage(m *raftpb.Message, peer fabric.MemberID) error {
	switch m.GetType() {
	case raftpb.MsgProp:
		if len(m.Entries) == 0 {
			return refused(peer, RefusedUnsafe, "MsgProp without entries")
		}
	case raftpb.MsgReadIndex:
		if len(m.Entries) == 0 {
			return refused(peer, RefusedUnsafe, "MsgReadIndex without an entry")
		}
	case raftpb.MsgHeartbeatResp:
		if n := len(m.Context); n != 0 && n < readContext {
			return refused(peer, RefusedUnsafe, "MsgHeartbeatResp with a context of %d bytes, raft reads %d", n, readContext)
		}
	}
	return nil
}

// readContext is the length of a context by which raft confirms reads: a
// little-endian counter.
const readContext = 8
