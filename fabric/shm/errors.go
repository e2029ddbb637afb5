package shm

import (
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// Reasons for which a port cannot be opened, a session is refused or a link is
// down. Test with errors.Is; what a Handler sees in LinkState.Err wraps them.
var (
	// ErrUnsupported: this system has no sealed shared memory or no eventfd.
	ErrUnsupported = fmt.Errorf("shared memory between processes needs Linux; use the stream or udp fabric: %w", errors.ErrUnsupported)
	// ErrDirectory: the rendezvous directory cannot be trusted or used.
	ErrDirectory = errors.New("rendezvous directory cannot be used")
	// ErrInUse: another process is this member already.
	ErrInUse = errors.New("another process is this member in this directory; stop it first")
	// ErrStaleSession: the session is of an older incarnation of the peer.
	ErrStaleSession = errors.New("stale session")
	// ErrNotYetUp: the peer was not met yet at the rendezvous.
	ErrNotYetUp = errors.New("peer not met yet")
	// ErrRefused: the peer was met and refused; the text says why.
	ErrRefused = errors.New("refused by the peer")
	// ErrStranger: whoever was met is not the peer that the session is with.
	ErrStranger = errors.New("not the peer of the session")
	// ErrForeignUser: the process at the other end runs as another user.
	ErrForeignUser = errors.New("process of another user")
	// ErrHungUp: the peer's process ended, or its port was closed.
	ErrHungUp = errors.New("the peer's process or port has ended")
	// ErrGateShut: the upper layer forbids traffic with the peer.
	ErrGateShut = errors.New("gate is shut")
	// ErrReplaced: the session was replaced by a newer one.
	ErrReplaced = errors.New("session replaced")
	// ErrDisconnected: Disconnect was called.
	ErrDisconnected = errors.New("disconnected")

	// ErrProtocol is wrapped by what only a faulty or lying peer does.
	ErrProtocol = errors.New("peer broke the protocol")
	// ErrBadHello: a rendezvous message that no member writes.
	ErrBadHello = protocolError("bad rendezvous message")
	// ErrBadMemory: a file descriptor that is not sealed memory of the size stated,
	// or no event.
	ErrBadMemory = protocolError("memory is not what was stated")
	// ErrBadSlot: a slot that no sender writes.
	ErrBadSlot = protocolError("bad slot")
	// ErrForgedCredit: credit for what was never sent, or credit that falls.
	ErrForgedCredit = protocolError("credit for what was never sent")
	// ErrSequence: a link sequence that is not the next one.
	ErrSequence = protocolError("link sequence out of order")
	// ErrBadPiece: pieces that do not make up a frame.
	ErrBadPiece = protocolError("pieces do not make up a frame")
	// ErrUnexpected: a kind of frame that has no place here.
	ErrUnexpected = protocolError("unexpected kind of frame")
	// ErrBadRow: a row that its owner would not publish.
	ErrBadRow = protocolError("bad row")
)

type protocolFault string

func protocolError(text string) error { return protocolFault(text) }

func (e protocolFault) Error() string        { return string(e) }
func (e protocolFault) Is(target error) bool { return target == ErrProtocol }

// linkDown is what Send reports and lost tickets wrap while a link is down.
func linkDown(reason error) error {
	return fmt.Errorf("%w: %w", fabric.ErrLinkDown, reason)
}
