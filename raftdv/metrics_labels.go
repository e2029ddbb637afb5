package raftdv

import (
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// DropReason says why a message was not sent or did not arrive.
type DropReason uint8

// The drop reasons.
const (
	DropNoCredit DropReason = iota
	DropLinkDown
	DropTooLarge
	DropTimeout
	DropClosed
	DropUnknownPeer
	DropPaused
	DropOther
	dropReasons
)

var dropNames = [dropReasons]string{"no_credit", "link_down", "too_large", "timeout", "closed", "unknown_peer", "paused", "other"}

// String is the reason's label.
func (r DropReason) String() string { return nameOf(dropNames[:], int(r)) }

// DropReasonOf finds the reason in the error of a refusal or of a ticket.
func DropReasonOf(err error) DropReason {
	for _, known := range []struct {
		err    error
		reason DropReason
	}{
		{fabric.ErrNoCredit, DropNoCredit},
		{fabric.ErrLinkDown, DropLinkDown},
		{fabric.ErrTooLarge, DropTooLarge},
		{fabric.ErrTimeout, DropTimeout},
		{fabric.ErrClosed, DropClosed},
		{fabric.ErrUnknownPeer, DropUnknownPeer},
	} {
		if errors.Is(err, known.err) {
			return known.reason
		}
	}
	return DropOther
}

// RefuseReason says why something that arrived was not used.
type RefuseReason uint8

// The reasons of a refusal.
const (
	// RefusedMalformed: the bytes do not decode.
	RefusedMalformed RefuseReason = iota
	// RefusedVersion: they are of another version.
	RefusedVersion
	// RefusedSender: From is not the owner of the link.
	RefusedSender
	// RefusedAddressee: the message is for another member.
	RefusedAddressee
	// RefusedUnsafe: raft would panic, or take it for its own.
	RefusedUnsafe
	// RefusedRow: a row that contradicts an older one.
	RefusedRow
	// RefusedBootstrap: a control stream that was not admitted.
	RefusedBootstrap
	// RefusedBusy: the queue towards raft is full.
	RefusedBusy
	// RefusedOrder: a frame or row that breaks the rules of views and of the order.
	RefusedOrder
	refuseReasons
)

var refuseNames = [refuseReasons]string{"malformed", "version", "sender", "addressee", "unsafe", "row", "bootstrap", "busy", "order"}

// String is the reason's label.
func (r RefuseReason) String() string { return nameOf(refuseNames[:], int(r)) }

// RefuseReasonOf finds the reason in an error of this package.
func RefuseReasonOf(err error) RefuseReason {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.Reason
	}
	if errors.Is(err, ErrIdentity) {
		return RefusedSender
	}
	if errors.Is(err, ErrMessageVersion) || errors.Is(err, fabric.ErrVersion) {
		return RefusedVersion
	}
	return RefusedMalformed
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("reason(%d)", i)
}
