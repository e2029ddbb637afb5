package raftdv

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// rowPublisher is this member's row: what Send puts in, and on which roads it
// still has to go out.
type rowPublisher struct {
	mu       sync.Mutex // guards the fields below, and the order of versions
	writer   *RowWriter
	version  uint64
	sections []byte
	prompt   [][]fabric.MemberID // by road: who waits for the row
	late     [][]fabric.MemberID // by road: who gets it by lateAt, or with what comes before
	lateAt   time.Time
	timer    *time.Timer // for lateAt, or earlier
	armed    bool        // it runs
	resent   uint64      // the ack's seq that was last repeated
}

func (rp *rowPublisher) init(t *Transport) {
	rp.writer = NewRowWriter(t.member())
	rp.prompt, rp.late = make([][]fabric.MemberID, len(t.roads)), make([][]fabric.MemberID, len(t.roads))
	rp.timer = time.AfterFunc(time.Hour, func() { rp.overdue(t) })
	rp.timer.Stop()
}

// stop ends the timer. What it has begun finds the roads closed.
func (rp *rowPublisher) stop() { rp.timer.Stop() }

// take puts a message into the row, if the row can hold it. publish has to
// follow.
func (rp *rowPublisher) take(p *peer, m *raftpb.Message) bool {
	path := p.path.Load()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	repeats := rp.writer.Repeats(m)
	if path < 0 || !rp.writer.Note(m) {
		return false
	}
	if repeats {
		rp.postpone(path, p.member)
	} else {
		rp.promptOn(path, p.member)
	}
	return true
}

// postpone has a member get the row a little later; mu is held.
func (rp *rowPublisher) postpone(path int32, id fabric.MemberID) {
	if slices.Contains(rp.prompt[path], id) || slices.Contains(rp.late[path], id) {
		return
	}
	if !rp.anyLate() {
		rp.lateAt = time.Now().Add(RepeatDelay)
		if !rp.armed {
			rp.armed = true
			rp.timer.Reset(RepeatDelay)
		}
	}
	rp.late[path] = append(rp.late[path], id)
}

func (rp *rowPublisher) anyLate() bool {
	return slices.ContainsFunc(rp.late, func(ids []fabric.MemberID) bool { return len(ids) > 0 })
}

// overdue is the timer's: it may have been set for somebody who has the row by now.
func (rp *rowPublisher) overdue(t *Transport) {
	rp.mu.Lock()
	rp.armed = rp.anyLate()
	early := time.Until(rp.lateAt)
	switch {
	case !rp.armed:
	case early > 0:
		rp.timer.Reset(early)
	default:
		rp.armed = false
		for i, ids := range rp.late {
			for _, id := range ids {
				rp.promptOn(int32(i), id)
			}
		}
	}
	rp.mu.Unlock()
	rp.publish(t)
}

// toAll has the row go out to all members that a fabric reaches. publish has to
// follow.
func (rp *rowPublisher) toAll(t *Transport) {
	rp.promptAll(t)
	t.ordering.published()
}

func (rp *rowPublisher) promptAll(t *Transport) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	for _, p := range *t.peers.Load() {
		if p.paused.Load() || Feature(p.speaks.Load())&FeatureElections == 0 {
			continue
		}
		rp.promptOn(p.path.Load(), p.member)
		if p.moved.within(settleTime) {
			rp.promptOn(int32(t.stream().index), p.member)
		}
		if p.apart.Load() { // so that both notice when it is over
			for _, r := range t.roads {
				if r.port != nil && r.name != FabricRelay && p.isUp(r.index) {
					rp.promptOn(int32(r.index), p.member)
				}
			}
		}
	}
}

// settleTime is for how long after a change of path the row goes by the stream as
// well: the peer may not take yet, or no longer, what comes by the other one, and
// would take this member for silent.
const settleTime = time.Second

func (rp *rowPublisher) promptOn(path int32, id fabric.MemberID) {
	if path >= 0 && !slices.Contains(rp.prompt[path], id) {
		rp.prompt[path] = append(rp.prompt[path], id)
	}
}

// publish sends the row on the roads on which somebody waits for it.
func (rp *rowPublisher) publish(t *Transport) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	for i, prompt := range rp.prompt {
		if len(prompt) == 0 {
			continue
		}
		rp.version++
		rp.late[i] = slices.DeleteFunc(rp.late[i], func(id fabric.MemberID) bool { return slices.Contains(prompt, id) })
		// In the order of their ids.
		rp.sections = t.elections.appendSection(t.ordering.appendSection(rp.writer.AppendSection(rp.sections[:0])))
		row := fabric.Row{Owner: t.member(), Incarnation: t.incarnation, Version: rp.version, Sections: rp.sections}
		err := t.roads[i].port.Publish(row, prompt)
		rp.prompt[i] = prompt[:0]
		if err != nil && !errors.Is(err, fabric.ErrClosed) {
			t.lg.Warn("row could not be published", zap.String("fabric", t.roads[i].name), zap.Error(err))
		}
	}
}

// resend repeats the newest ack to p as a message: the row that held it may
// have been lost with the road that it was published on. Each emission is
// repeated once at most, so that a member whose raft is stuck does not look
// active because its path flaps.
func (rp *rowPublisher) resend(p *peer) {
	rp.mu.Lock()
	ack := rp.writer.ack
	wanted := ack.seq > rp.resent && ack.to == uint64(p.id) && !p.paused.Load()
	if wanted {
		rp.resent = ack.seq
	}
	rp.mu.Unlock()
	if !wanted {
		return
	}
	s := scratches.Get().(*scratch)
	s.reset(len(p.t.roads))
	p.sortFrame(s, ack.message(raftpb.MsgAppResp, uint64(p.t.ID)))
	p.t.flush(s)
}

// message is the emission that the cell stands for.
func (c *rowCell) message(typ raftpb.MessageType, from uint64) *raftpb.Message {
	m := &raftpb.Message{Type: typ.Enum(), From: new(from), To: new(c.to), Term: new(c.term)}
	switch {
	case typ == raftpb.MsgAppResp:
		m.Index = new(c.value)
	case c.has:
		m.Context = binary.LittleEndian.AppendUint64(nil, c.value)
	}
	return m
}

// observe turns a peer's row into the messages that it stands for. Rows of one
// peer may come through two roads at a time.
func (p *peer) observe(row *fabric.Row) error {
	p.rowMu.Lock()
	defer p.rowMu.Unlock()
	msgs, err := p.rows.Observe(p.rowMsgs[:0], row)
	for i, m := range msgs {
		p.metrics.received(m.GetType(), formRow)
		p.process(m)
		msgs[i] = nil
	}
	p.rowMsgs = msgs[:0]
	return err
}
