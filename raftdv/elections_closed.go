package raftdv

import (
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/raftdv/dv/fabric/stream"
)

// doubt is about a peer whose side closed the control stream that this member
// dialled. Its process may have died, of which the kernel tells so, before
// silence would. Or something between the two closes connections. So the next
// dial, which comes at once, decides, and elections hear of deaths only. If it
// is not answered, silence does.
type doubt struct {
	// closed by the peer's side, said before the stream's end shows.
	closed atomic.Bool
	// The fields below belong to dialLoop.
	open bool   // the peer is in doubt
	life uint64 // the incarnation that answered last
}

// over: the stream came to its end.
func (d *doubt) over() { d.open = d.closed.Swap(false) }

// answered settles the doubt. It reports whether the life that answered before
// is over.
func (d *doubt) answered(incarnation uint64) (died bool) {
	died = d.life != 0 && d.life != incarnation
	d.open, d.life = false, incarnation
	return died
}

// failed reports whether a dial that failed settles the doubt: the peer died.
func (d *doubt) failed(err error) (died bool) {
	died = d.open && isDeath(err)
	d.open = d.open && !died
	return died
}

// answerError is a peer's answer to a dial that is no control stream.
type answerError struct{ error }

func (e *answerError) Unwrap() error { return e.error }

// errConnected: the peer's end of the stream that was lost is open.
var errConnected = errors.New("the peer takes this member for connected")

// isDeath reports whether a dial that failed with err, after the peer's side had
// closed the stream, found nobody, or somebody who refuses: a process that ends,
// or a proxy in front of it. Without an answer, or without a way there, nothing
// is known.
func isDeath(err error) bool {
	if errors.Is(err, errConnected) || errors.Is(err, ErrMemberRemoved) {
		return false
	}
	var answer *answerError
	return errors.As(err, &answer) || isClosed(err) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist)
}

// isClosed: the peer's end was closed, which the kernel also does for a process
// that died. Silence, and whatever this member did itself, is no word of the
// peer's.
func isClosed(err error) bool {
	return errors.Is(err, stream.ErrHungUp) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
