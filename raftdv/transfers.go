package raftdv

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/raft/v3"

	"github.com/raftdv/dv/fabric"
)

type snapshotStatus = raft.SnapshotStatus

const (
	// maxIncoming bounds the snapshots that a member receives at a time, and
	// with it the memory: each holds at most a window.
	maxIncoming = 4
	// maxFinished bounds the ended transfers that are remembered, so that a
	// sender which missed the end is told again.
	maxFinished = 64
)

// transfers are the snapshots under way, in both directions.
type transfers struct {
	t  *Transport
	wg sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	next     uint64
	outgoing map[uint64]*sendTransfer
	incoming map[transferKey]*receiveTransfer
	finished []finishedTransfer
	closed   bool
}

type transferKey struct {
	from        fabric.MemberID
	incarnation uint64
	id          uint64
}

type finishedTransfer struct {
	key    transferKey
	failed string // empty: it succeeded
}

func (ts *transfers) init(t *Transport) {
	ts.t = t
	ts.outgoing = map[uint64]*sendTransfer{}
	ts.incoming = map[transferKey]*receiveTransfer{}
}

// stop ends all transfers and waits for them; their contexts end with the
// transport's.
func (ts *transfers) stop() {
	ts.mu.Lock()
	ts.closed = true
	ts.mu.Unlock()
	ts.wg.Wait()
}

// receive takes one snapshot frame. It never blocks.
func (ts *transfers) receive(p *peer, f *fabric.Frame) error {
	h, err := parseSnapPatch(f.Patch, f.Body)
	if err != nil {
		return err
	}
	switch h.kind {
	case snapOpen:
		return ts.open(p, h, f.Body)
	case snapData, snapAbort:
		r := ts.findIncoming(p, h.transfer)
		if r == nil {
			return nil // it ended here, and the sender was told
		}
		if h.kind == snapAbort {
			r.fail(fmt.Errorf("sender gave up: %s", f.Body))
			return nil
		}
		r.data(h, f.Body)
	default:
		ts.mu.Lock()
		s := ts.outgoing[h.transfer]
		ts.mu.Unlock()
		if s != nil && s.p == p {
			s.answer(h, string(f.Body))
		}
	}
	return nil
}

// settled is told of a snapshot frame that arrived by a road, which leaves room for
// another one, or did not.
func (ts *transfers) settled(ticket uint64, by *road, lost bool) {
	ts.mu.Lock()
	s := ts.outgoing[ticket]
	ts.mu.Unlock()
	switch {
	case s == nil:
	case lost:
		if by.name == FabricStream {
			s.p.bulkLost.set(time.Now())
		}
		s.resync()
	default:
		s.poke()
	}
}

func (ts *transfers) findIncoming(p *peer, id uint64) *receiveTransfer {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.incoming[transferKey{p.member, p.incarnation(), id}]
}

func (ts *transfers) endOutgoing(s *sendTransfer) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.outgoing, s.id)
}

func (ts *transfers) endIncoming(r *receiveTransfer, err error) {
	done := finishedTransfer{key: r.key}
	if err != nil {
		done.failed = err.Error()
	}
	ts.mu.Lock()
	delete(ts.incoming, r.key)
	if len(ts.finished) == maxFinished {
		ts.finished = ts.finished[1:]
	}
	ts.finished = append(ts.finished, done)
	ts.mu.Unlock()
	ts.reply(r.p, snapHeader{kind: snapDone, transfer: r.key.id}, done.failed)
}

// open starts to receive a transfer, or says how far it is.
func (ts *transfers) open(p *peer, h snapHeader, body []byte) error {
	key := transferKey{p.member, p.incarnation(), h.transfer}
	ts.mu.Lock()
	r := ts.incoming[key]
	for _, f := range ts.finished {
		if f.key == key {
			ts.mu.Unlock()
			ts.reply(p, snapHeader{kind: snapDone, transfer: h.transfer}, f.failed)
			return nil
		}
	}
	if r != nil {
		ts.mu.Unlock()
		r.rewind()
		return nil
	}
	err := ts.begin(p, key, h, body)
	ts.mu.Unlock()
	if err != nil {
		ts.reply(p, snapHeader{kind: snapDone, transfer: h.transfer}, err.Error())
		return err
	}
	// A sender that thinks it has begun already is to begin again.
	ts.reply(p, snapHeader{kind: snapRewind, transfer: h.transfer, total: uint64(ts.t.cfg.SnapshotWindow)}, "")
	return nil
}

// begin is called with mu held.
func (ts *transfers) begin(p *peer, key transferKey, h snapHeader, body []byte) error {
	switch {
	case ts.closed:
		return fmt.Errorf("member %s is stopping", ts.t.ID)
	case p.answerRoad(snapPatchLen) == nil:
		return fmt.Errorf("member %s has no road to %s by which to answer: it waits until it has one", ts.t.ID, p.id)
	case h.offset != 0:
		return fmt.Errorf("member %s does not know this transfer any more: it was restarted", ts.t.ID)
	case len(ts.incoming) >= maxIncoming:
		return fmt.Errorf("member %s receives %d snapshots already, its limit: send again later", ts.t.ID, maxIncoming)
	}
	r, err := newReceiveTransfer(p, key, h, body)
	if err != nil {
		return err
	}
	ts.incoming[key] = r
	ts.wg.Go(r.run)
	return nil
}

// answerRoad is the road in use, or any that is up.
func (p *peer) answerRoad(size int) *road {
	if r := p.bestRoad(size); r != nil {
		return r
	}
	return p.roadUp(0, size)
}

// reply sends what a receiver has to say; if it is lost, the sender asks.
func (ts *transfers) reply(p *peer, h snapHeader, text string) {
	body := []byte(text)
	r := p.answerRoad(len(body) + snapPatchLen)
	if r == nil {
		return
	}
	err := r.port.Send([]fabric.Outgoing{{
		To: []fabric.MemberID{p.member}, Patch: [][]byte{appendSnapPatch(nil, h, body)}, Body: body,
		Lane: fabric.LaneControl, Class: fabric.ClassFIFO,
	}})
	if err != nil {
		p.t.lg.Debug("snapshot: answer was not sent; the sender will ask", zap.String("remote-peer-id", p.id.String()), zap.Error(err))
	}
}
