package raftdv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	humanize "github.com/dustin/go-humanize"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

const (
	// maxSnapshotMessage bounds the MsgSnap itself, as rafthttp does.
	maxSnapshotMessage = 64 << 20
	// savingEvery is how often a receiver says that it is still saving.
	savingEvery = time.Second
)

var errSnapshotSilent = errors.New("the sender has gone silent")

// receiveTransfer is one snapshot on its way in. The fabric's goroutine puts
// data in, run takes it out and saves it.
type receiveTransfer struct {
	p     *peer
	key   transferKey
	msg   *raftpb.Message
	size  uint64
	start time.Time

	mu       sync.Mutex // guards the fields below
	cond     sync.Cond
	queue    []chunk // received and not consumed, oldest first, at most a window
	queued   int     // bytes of it
	first    int     // bytes of its first chunk that are consumed
	received uint64  // offset behind the last byte that came in order
	consumed uint64
	told     uint64 // the offset last told to the sender
	rewound  bool   // the sender was asked to go back, and has not yet
	heard    time.Time
	err      error
}

func newReceiveTransfer(p *peer, key transferKey, h snapHeader, body []byte) (*receiveTransfer, error) {
	if len(body) > maxSnapshotMessage {
		return nil, fmt.Errorf("snapshot message of %d bytes, at most %d", len(body), maxSnapshotMessage)
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("decode the snapshot message: %w", err)
	}
	switch {
	case m.GetType() != raftpb.MsgSnap || m.GetSnapshot().GetMetadata() == nil:
		return nil, fmt.Errorf("a transfer holds a %v, not a snapshot", m.GetType())
	case m.GetFrom() != uint64(p.id) || m.GetTo() != uint64(p.t.ID):
		return nil, fmt.Errorf("%w: snapshot from %x to %x came from %s", ErrIdentity, m.GetFrom(), m.GetTo(), p.id)
	case h.total != noDatabase && h.total > math.MaxInt64:
		return nil, fmt.Errorf("snapshot of %d bytes", h.total)
	case h.total != noDatabase && p.t.Snapshotter == nil:
		return nil, fmt.Errorf("member %s has no place for database snapshots", p.t.ID)
	}
	r := &receiveTransfer{p: p, key: key, msg: m, size: h.total, start: time.Now(), heard: time.Now()}
	r.cond.L = &r.mu
	return r, nil
}

// run saves the database, hands the message to raft and tells the sender.
func (r *receiveTransfer) run() {
	defer r.p.metrics.snapshotReceiving()()
	stop := context.AfterFunc(r.p.ctx, func() { r.fail(context.Cause(r.p.ctx)) })
	defer stop()
	err := r.save()
	if err == nil {
		err = r.p.t.toRaft(r.p.ctx, r.msg)
	}
	r.p.t.transfers.endIncoming(r, err)
	if err != nil {
		r.p.metrics.snapshotReceiveFailed()
		r.p.t.lg.Warn("failed to receive database snapshot", zap.String("local-member-id", r.p.t.ID.String()),
			zap.String("remote-snapshot-sender-id", r.p.id.String()), zap.Error(err))
		return
	}
	r.p.metrics.snapshotReceived(r.bytes(), time.Since(r.start))
}

func (r *receiveTransfer) bytes() uint64 {
	n := uint64(proto.Size(r.msg))
	if r.size != noDatabase {
		n += r.size
	}
	return n
}

func (r *receiveTransfer) save() error {
	if r.size == noDatabase {
		return nil
	}
	lg, index := r.p.t.lg, r.msg.GetSnapshot().GetMetadata().GetIndex()
	fields := []zap.Field{
		zap.String("local-member-id", r.p.t.ID.String()), zap.String("remote-snapshot-sender-id", r.p.id.String()),
		zap.Uint64("incoming-snapshot-index", index), zap.String("incoming-snapshot-size", humanize.Bytes(r.size)),
	}
	lg.Info("receiving database snapshot", fields...)
	stop := r.alive()
	n, err := r.p.t.Snapshotter.SaveDBFrom(r, index)
	stop()
	if err != nil {
		return fmt.Errorf("save the snapshot after %d of %d bytes: %w", n, r.size, err)
	}
	lg.Info("received and saved database snapshot", append(fields, zap.Duration("download-took", time.Since(r.start)))...)
	return nil
}

// alive tells the sender again and again how far saving is, and gives up on a
// sender that is silent for too long.
func (r *receiveTransfer) alive() (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(savingEvery)
	r.p.t.transfers.wg.Go(func() {
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			r.mu.Lock()
			silent := r.received < r.size && time.Since(r.heard) > r.p.t.cfg.SnapshotStall
			r.mu.Unlock()
			if silent {
				r.fail(errSnapshotSilent)
			}
			r.tell(snapProgress)
		}
	})
	return func() { close(done) }
}

// Read gives the database to whoever saves it.
func (r *receiveTransfer) Read(b []byte) (int, error) {
	c, err := r.head()
	if err != nil {
		return 0, err
	}
	n := copy(b, c)
	r.consume(n)
	return n, nil
}

// WriteTo does the same without a copy: etcd's Snapshotter saves by io.Copy.
func (r *receiveTransfer) WriteTo(w io.Writer) (written int64, err error) {
	for {
		c, err := r.head()
		if err == io.EOF {
			return written, nil
		} else if err != nil {
			return written, err
		}
		n, err := w.Write(c)
		written += int64(n)
		r.consume(n)
		if err != nil {
			return written, err
		}
	}
}

// head waits for the oldest bytes that are not consumed. They stay as they are until
// consume; it and head are for one goroutine.
func (r *receiveTransfer) head() (chunk, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && r.consumed < r.size && r.err == nil {
		r.cond.Wait()
	}
	switch {
	case r.err != nil:
		return nil, r.err
	case len(r.queue) == 0:
		return nil, io.EOF
	}
	return r.queue[0][r.first:], nil
}

// consume lets go of n bytes of the head, and tells the sender now and then.
func (r *receiveTransfer) consume(n int) {
	r.mu.Lock()
	c := r.queue[0]
	if r.first += n; r.first == len(c) {
		c.free()
		r.queue[0] = nil
		r.queue, r.first = r.queue[1:], 0
	}
	r.queued -= n
	r.consumed += uint64(n)
	tell := r.progress()-r.told >= uint64(r.p.t.cfg.SnapshotWindow)/4 || r.consumed == r.size
	r.mu.Unlock()
	if tell {
		r.tell(snapProgress)
	}
}

// put appends a copy of body to the queue, whose chunks but the last one are full: what
// comes in small pieces takes no more memory. It is called with mu held.
func (r *receiveTransfer) put(body []byte) {
	r.queued += len(body)
	r.received += uint64(len(body))
	for len(body) > 0 {
		last := len(r.queue) - 1
		if last < 0 || len(r.queue[last]) == snapshotChunk {
			r.queue = append(r.queue, newChunk(0))
			last++
		}
		c := r.queue[last]
		n := min(len(body), snapshotChunk-len(c))
		r.queue[last] = append(c, body[:n]...)
		body = body[n:]
	}
}

// progress is what the sender may forget: whole chunks, or everything.
func (r *receiveTransfer) progress() uint64 {
	if r.consumed == r.size {
		return r.size
	}
	return r.consumed - r.consumed%snapshotChunk
}

// tell grants the window behind what was consumed; a rewind names what was
// received.
func (r *receiveTransfer) tell(kind snapKind) {
	r.mu.Lock()
	h := snapHeader{kind: kind, transfer: r.key.id, offset: r.progress(), total: uint64(r.p.t.cfg.SnapshotWindow)}
	r.told = h.offset
	if kind == snapRewind {
		h.total -= r.received - h.offset
		h.offset = r.received
		r.rewound = true
	}
	r.mu.Unlock()
	r.p.t.transfers.reply(r.p, h, "")
}

// rewind answers a sender that asks where to go on.
func (r *receiveTransfer) rewind() {
	r.mu.Lock()
	r.heard = time.Now()
	r.mu.Unlock()
	r.tell(snapRewind)
}

// data takes one piece. Pieces that come twice are dropped; one that is missing
// is asked for, once.
func (r *receiveTransfer) data(h snapHeader, body []byte) {
	r.mu.Lock()
	r.heard = time.Now()
	end := h.offset + uint64(len(body))
	switch {
	case h.offset < r.received || len(body) == 0 || r.err != nil:
		r.mu.Unlock()
	case h.offset > r.received:
		ask := !r.rewound
		r.mu.Unlock()
		if ask {
			r.tell(snapRewind)
		}
	case end > r.size || r.queued+len(body) > r.p.t.cfg.SnapshotWindow+snapshotChunk:
		r.mu.Unlock()
		r.fail(fmt.Errorf("member %s sends byte %d of %d, beyond what it was granted", r.p.id, end, r.size))
	default:
		r.put(body)
		r.rewound = false
		r.cond.Signal()
		r.mu.Unlock()
	}
}

func (r *receiveTransfer) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		r.cond.Broadcast()
	}
}
