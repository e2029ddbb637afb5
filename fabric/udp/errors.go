package udp

import (
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// Reasons for which a session is refused or a link is down. Test with
// errors.Is; what a Handler sees in LinkState.Err wraps them.
var (
	// ErrStaleSession: the session is of an older incarnation of the peer, or
	// its keys were used before.
	ErrStaleSession = errors.New("stale session")
	// ErrNoAnswer: nothing was heard from the peer for the idle timeout.
	ErrNoAnswer = errors.New("no answer")
	// ErrOneWay: the peer is heard, and does not hear this member.
	ErrOneWay = errors.New("peer does not hear this member")
	// ErrGateShut: the upper layer forbids traffic with the peer.
	ErrGateShut = errors.New("gate is shut")
	// ErrPeerClosed: the peer ended the session.
	ErrPeerClosed = errors.New("closed by the peer")
	// ErrProtocol: the peer broke the protocol; only a new session helps.
	ErrProtocol = errors.New("peer broke the protocol")
	// ErrReplaced: the session was replaced by a newer one.
	ErrReplaced = errors.New("session replaced")
	// ErrDisconnected: Disconnect was called.
	ErrDisconnected = errors.New("disconnected")
	// ErrNotYetUp: the session is new and the path not yet probed.
	ErrNotYetUp = errors.New("path not yet probed")
)

// linkDown is what Send reports and lost tickets wrap while a link is down.
func linkDown(reason error) error {
	return fmt.Errorf("%w: %w", fabric.ErrLinkDown, reason)
}
