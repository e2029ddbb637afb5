package ordered

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/raftdv/dv/fabric"
)

// ErrUncertain is wrapped by the outcome of an agreed or safe frame of which this
// member does not know, and never will, whether others delivered it: it was left
// out of a view while the frame was on its way.
var ErrUncertain = errors.New("ordered: this member was left out of a view; others may have delivered the frame or not")

// Ticket is the sender's handle on a frame. It is settled once:
//
//   - agreed: when this member has delivered the frame. Its place in the order is
//     final: every member that stays in the view delivers it there.
//   - safe: likewise, and all members of the view have it, if Safe says so.
//   - fifo, unordered: when each destination has it in its memory, or it was lost on
//     the way there. Neither says that the peer's process is alive.
//
// Its methods may be called concurrently.
type Ticket struct {
	done chan struct{}
	err  error // written before done is closed
	safe bool
	left int
	once atomic.Bool
}

func newTicket(left int) *Ticket { return &Ticket{done: make(chan struct{}), left: left} }

// Done is closed when the ticket is settled.
func (t *Ticket) Done() <-chan struct{} { return t.done }

// Err is nil until the ticket is settled, and if the frame is where it should be.
// Otherwise it wraps ErrUncertain, ErrClosed, or for each destination that a fifo
// or unordered frame did not reach a *LostError.
func (t *Ticket) Err() error {
	select {
	case <-t.done:
		return t.err
	default:
		return nil
	}
}

// Safe reports whether all members of the view are known to have the frame. A
// safe frame that a view's end delivered is not: those that the next view leaves
// out may not have it.
func (t *Ticket) Safe() bool {
	select {
	case <-t.done:
		return t.safe
	default:
		return false
	}
}

// Wait waits until the ticket is settled, and returns what Err does; or the
// context's error, which says nothing of the frame.
func (t *Ticket) Wait(ctx context.Context) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Ticket) settle(err error, safe bool) {
	if t.once.CompareAndSwap(false, true) {
		t.err, t.safe = err, safe
		close(t.done)
	}
}

// LostError says that a fifo or unordered frame did not reach a member.
type LostError struct {
	To  fabric.MemberID
	Err error
}

func (e *LostError) Error() string { return fmt.Sprintf("ordered: to %v: %v", e.To, e.Err) }

// Unwrap gives the port's reason.
func (e *LostError) Unwrap() error { return e.Err }
