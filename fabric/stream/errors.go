package stream

import (
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// Why a connection came to its end, besides what the connection itself says,
// fabric.ErrTimeout (tickets), fabric.ErrClosed and what fabric's decoder finds.
// Test with errors.Is.
var (
	// ErrReplaced: a newer connection of the same direction was attached.
	ErrReplaced = errors.New("replaced by a newer connection")
	// ErrRestarted: a newer incarnation of the peer has connected.
	ErrRestarted = errors.New("the peer has restarted")
	// ErrStaleIncarnation: the connection is that of an older incarnation.
	ErrStaleIncarnation = errors.New("connection of an older incarnation of the peer")
	// ErrRemoved: RemovePeer was called.
	ErrRemoved = errors.New("the peer was removed")
	// ErrSilent: nothing came within IdleTimeout.
	ErrSilent = errors.New("silent for longer than the idle timeout")
	// ErrHungUp: the peer closed the connection.
	ErrHungUp = errors.New("the peer closed the connection")

	// ErrProtocol is wrapped by what only a faulty or lying peer does.
	ErrProtocol = errors.New("the peer broke the protocol")
	// ErrForgedAck: an ack for what was never sent, or one that falls.
	ErrForgedAck = protocolError("ack of what was never sent")
	// ErrSequence: a link sequence that falls.
	ErrSequence = protocolError("link sequence falls")
	// ErrUnexpected: a kind of frame that has no place here.
	ErrUnexpected = protocolError("unexpected kind of frame")
	// ErrBadOpening: a connection that does not start as it has to.
	ErrBadOpening = protocolError("bad opening")
	// ErrBadPiece: pieces that do not make up a frame.
	ErrBadPiece = protocolError("pieces do not make up a frame")
	// ErrUnprotected: a frame without the checksum that the session asks for.
	ErrUnprotected = protocolError("frame without a checksum")
	// ErrForeignRow: a row that is not the peer's own.
	ErrForeignRow = protocolError("row of another member")
)

type protocolFault string

func protocolError(text string) error { return protocolFault(text) }

func (e protocolFault) Error() string        { return string(e) }
func (e protocolFault) Is(target error) bool { return target == ErrProtocol }

// EndError says why a connection came to its end.
type EndError struct {
	Peer      fabric.MemberID
	Direction Direction
	Err       error
}

func (e *EndError) Error() string {
	return fmt.Sprintf("stream: %v connection of peer %s: %v", e.Direction, e.Peer, e.Err)
}

// Unwrap gives the reason.
func (e *EndError) Unwrap() error { return e.Err }

// malformed marks what fabric's decoder found as the peer's fault.
func malformed(err error) error { return &decodeError{err} }

func tooLarge[T int | uint64](n T) error {
	return malformed(fmt.Errorf("%w: frame of %d bytes", fabric.ErrTooLarge, n))
}

type decodeError struct{ err error }

func (e *decodeError) Error() string        { return e.err.Error() }
func (e *decodeError) Unwrap() error        { return e.err }
func (e *decodeError) Is(target error) bool { return target == ErrProtocol }
