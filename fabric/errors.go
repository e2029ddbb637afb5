package fabric

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Reasons for which a frame is refused or lost. Test with errors.Is.
var (
	// ErrLost is wrapped by the error of every ticket that resolves as lost.
	ErrLost = errors.New("frame lost")
	// ErrNoCredit: the destination's window or the sender's queue is full.
	// Try again when tickets resolve.
	ErrNoCredit = errors.New("no credit at the destination")
	// ErrUnknownPeer: the port has no such peer.
	ErrUnknownPeer = errors.New("unknown peer")
	// ErrLinkDown: the peer is known and cannot be reached now.
	ErrLinkDown = errors.New("link is down")
	// ErrTooLarge: the frame or row exceeds the port's capabilities.
	ErrTooLarge = errors.New("too large for this port")
	// ErrClosed: the port was closed.
	ErrClosed = errors.New("port is closed")
	// ErrTimeout: no ack within the ticket timeout.
	ErrTimeout = errors.New("no ack within the ticket timeout")
	// ErrStaleRow: the row's version does not rise.
	ErrStaleRow = errors.New("row version does not rise")
	// ErrBadFrame: the call's arguments cannot be sent by any port.
	ErrBadFrame = errors.New("bad frame")
)

// Refusal says that one frame of a batch was not accepted for one destination.
type Refusal struct {
	Index  int // into the batch
	To     MemberID
	Ticket uint64
	Err    error
}

// SendError lists the refusals of one Send.
type SendError struct{ Refused []Refusal }

// Error names each destination once, with the first reason.
func (e *SendError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "frames refused (%d):", len(e.Refused))
	seen := make(map[MemberID]bool, len(e.Refused))
	for _, r := range e.Refused {
		if seen[r.To] {
			continue
		}
		seen[r.To] = true
		fmt.Fprintf(&b, " to %s: %v;", r.To, r.Err)
	}
	return strings.TrimSuffix(b.String(), ";")
}

// Unwrap gives the reasons, so that errors.Is finds them.
func (e *SendError) Unwrap() []error {
	errs := make([]error, len(e.Refused))
	for i, r := range e.Refused {
		errs[i] = r.Err
	}
	return errs
}

// Lost wraps the reason of a loss, for Resolution.Err; nil if it is unknown.
func Lost(reason error) error {
	if reason == nil {
		return ErrLost
	}
	return &lostError{reason}
}

type lostError struct{ reason error }

func (e *lostError) Error() string   { return "frame lost: " + e.reason.Error() }
func (e *lostError) Unwrap() []error { return []error{ErrLost, e.reason} }

// CheckOutgoing finds the mistakes in o that no port can mend; caps bounds the
// size. Ports call it first in Send.
func CheckOutgoing(o *Outgoing, caps *Capabilities) error {
	switch {
	case len(o.To) == 0:
		return fmt.Errorf("%w: no destination", ErrBadFrame)
	case o.Patch != nil && len(o.Patch) != len(o.To):
		return fmt.Errorf("%w: %d patches for %d destinations", ErrBadFrame, len(o.Patch), len(o.To))
	case o.Lane >= Lanes:
		return fmt.Errorf("%w: %v does not exist", ErrBadFrame, o.Lane)
	case o.Class >= classes:
		return fmt.Errorf("%w: %v does not exist", ErrBadFrame, o.Class)
	case o.Kind != 0 && !o.Kind.Sendable():
		return fmt.Errorf("%w: kind %d is a port's own", ErrBadFrame, o.Kind)
	case o.Kind == KindVoid && (o.Patch != nil || !bytes.Equal(o.Body, voidOne[:])):
		return fmt.Errorf("%w: a frame of KindVoid stands for one frame and has no patch (see VoidBody)", ErrBadFrame)
	case len(o.Body) > min(caps.MaxFrame, MaxBody):
		return fmt.Errorf("%w: body of %d bytes, %s carries at most %d", ErrTooLarge, len(o.Body), caps.Name, min(caps.MaxFrame, MaxBody))
	}
	for i, to := range o.To {
		if to == 0 {
			return fmt.Errorf("%w: destination 0", ErrBadFrame)
		}
		if slices.Contains(o.To[:i], to) {
			return fmt.Errorf("%w: destination %s twice", ErrBadFrame, to)
		}
	}
	for _, p := range o.Patch {
		if len(p) > MaxPatch {
			return fmt.Errorf("%w: patch of %d bytes, at most %d", ErrTooLarge, len(p), MaxPatch)
		}
		if len(p)+len(o.Body) > caps.MaxFrame {
			return fmt.Errorf("%w: patch and body of %d bytes, %s carries at most %d", ErrTooLarge, len(p)+len(o.Body), caps.Name, caps.MaxFrame)
		}
	}
	return nil
}
