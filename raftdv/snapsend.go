package raftdv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	humanize "github.com/dustin/go-humanize"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// resyncEvery is the pause between questions to a receiver that does not
// answer, and between attempts to send without credit.
const resyncEvery = 20 * time.Millisecond

var errMemberNotFound = errors.New("member not found")

// SendSnapshot sends a snapshot and reports how it ended to raft and to m.
func (t *Transport) SendSnapshot(m *snap.Message) {
	p := t.peer(types.ID(m.GetTo()))
	switch {
	case p == nil:
		m.CloseWithError(errMemberNotFound)
	case p.paused.Load() || !p.takesSnapshots():
		if t.cfg.Require {
			p.snapshotFailed(m.Message, m.CloseWithError, fmt.Errorf("no fabric reaches member %s", p.id))
			return
		}
		p.metrics.sent(raftpb.MsgSnap, formRafthttp)
		t.inner.SendSnapshot(m)
	default:
		p.startTransfer(m.Message, m.ReadCloser, m.TotalSize-int64(proto.Size(m.Message)), m.CloseWithError)
	}
}

// sendSnapMessage sends a snapshot that is whole in its message, as programs
// with small states do.
func (p *peer) sendSnapMessage(m *raftpb.Message) {
	if !p.takesSnapshots() {
		p.metrics.sent(raftpb.MsgSnap, formRafthttp)
		p.t.inner.Send([]*raftpb.Message{m})
		return
	}
	p.startTransfer(m, nil, 0, func(error) {})
}

// takesSnapshots reports whether a snapshot can go by frames: they reach the peer,
// and its answers reach this member. A peer whose frames do not arrive, or that
// did not answer the last time, gets it by rafthttp, if that is allowed.
func (p *peer) takesSnapshots() bool {
	if p.path.Load() < 0 || Feature(p.speaks.Load())&FeatureSnapshots == 0 {
		return false
	}
	return p.t.cfg.Require || (p.dialled() || p.relayAlive()) && !p.mute.Swap(false)
}

// sendTransfer is one snapshot on its way out. run owns the fields without a
// comment.
type sendTransfer struct {
	p       *peer
	id      uint64
	msg     *raftpb.Message
	open    []byte // the message in protobuf
	source  io.ReadCloser
	size    uint64
	chunks  []chunk // read and not consumed by the receiver, oldest first
	base    uint64  // offset of chunks[0]
	read    uint64
	next    uint64 // offset of the next byte to send
	granted uint64 // the receiver takes bytes below this
	heard   bool   // the receiver has answered

	mu      sync.Mutex // guards the fields below
	answers []snapAnswer
	ask     bool
	wake    chan struct{} // holds one
}

type snapAnswer struct {
	snapHeader
	text string
}

// maxAnswers bounds the answers that wait for the sender; older ones say less.
const maxAnswers = 64

func (p *peer) startTransfer(m *raftpb.Message, source io.ReadCloser, size int64, closed func(error)) {
	ts := &p.t.transfers
	open, err := proto.Marshal(m)
	if err != nil {
		p.snapshotFailed(m, closed, fmt.Errorf("encode the snapshot message: %w", err))
		return
	}
	s := &sendTransfer{p: p, msg: m, open: open, source: source, size: uint64(size), wake: make(chan struct{}, 1)}
	if source == nil {
		s.size = noDatabase
	}
	ts.mu.Lock()
	if ts.closed {
		ts.mu.Unlock()
		p.snapshotFailed(m, closed, errors.New("transport stopped"))
		return
	}
	ts.next++
	s.id = ts.next
	ts.outgoing[s.id] = s
	ts.wg.Add(1)
	ts.mu.Unlock()
	go func() {
		defer ts.wg.Done()
		s.send(closed)
	}()
}

// send runs a transfer and reports its end as rafthttp does.
func (s *sendTransfer) send(closed func(error)) {
	p, start := s.p, time.Now()
	bytes := uint64(len(s.open))
	if s.size != noDatabase {
		bytes += s.size
	}
	fields := []zap.Field{
		zap.Uint64("snapshot-index", s.msg.GetSnapshot().GetMetadata().GetIndex()), zap.String("remote-peer-id", p.id.String()),
		zap.Uint64("bytes", bytes), zap.String("size", humanize.Bytes(bytes)),
	}
	p.t.lg.Info("sending database snapshot", fields...)
	p.metrics.sent(raftpb.MsgSnap, formFrame)
	defer p.metrics.snapshotSending()()
	err := s.run()
	p.t.transfers.endOutgoing(s)
	if err != nil {
		p.mute.Store(!s.heard)
		s.sendFrame(snapHeader{kind: snapAbort, transfer: s.id}, []byte(err.Error()))
		p.t.lg.Warn("failed to send database snapshot", append(fields, zap.Error(err))...)
		p.snapshotFailed(s.msg, closed, err)
		return
	}
	closed(nil)
	p.t.Raft.ReportSnapshot(s.msg.GetTo(), raft.SnapshotFinish)
	p.t.lg.Info("sent database snapshot", fields...)
	p.metrics.snapshotSent(bytes, time.Since(start))
}

// snapshotFailed tells raft, which waits a while and sends another snapshot.
func (p *peer) snapshotFailed(m *raftpb.Message, closed func(error), err error) {
	closed(err)
	p.t.Raft.ReportUnreachable(m.GetTo())
	p.t.Raft.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
	p.metrics.snapshotSendFailed()
}

// run sends until the receiver says that raft has the snapshot. A lost frame,
// a lost connection or another path leads back to asking the receiver where
// to go on; only the lack of any progress for SnapshotStall ends in failure, or of
// the first answer for a third of it.
func (s *sendTransfer) run() error {
	s.resync()
	stall := s.p.t.cfg.SnapshotStall
	retry := time.NewTicker(resyncEvery)
	defer retry.Stop()
	progressed, asked := time.Now(), time.Time{}
	for {
		done, progress, err := s.handleAnswers()
		if done || err != nil {
			return err
		}
		if progress {
			progressed = time.Now()
		}
		if silent := time.Since(progressed); silent > stall/3 && !s.heard {
			return fmt.Errorf("no answer for %v: member %s cannot reach this one", stall/3, s.p.id)
		} else if silent > stall {
			return fmt.Errorf("no progress for %v at byte %d of %d: member %s is stuck or cannot be reached", stall, s.base, s.size, s.p.id)
		} else if silent > stall/8 && time.Since(asked) > stall/8 {
			s.resync() // an answer may be lost
		}
		if s.takeAsk() {
			asked = time.Now()
			if !s.sendFrame(snapHeader{kind: snapOpen, transfer: s.id, offset: s.base, total: s.size}, s.open) {
				s.askLater()
			}
		} else if err := s.pump(); err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-retry.C:
		case <-s.p.ctx.Done():
			return context.Cause(s.p.ctx)
		}
	}
}

// pump sends what the receiver takes, as long as there is credit.
func (s *sendTransfer) pump() error {
	for s.size != noDatabase && s.next < s.granted {
		if s.next == s.read {
			if s.read == s.size {
				return nil
			}
			if err := s.readChunk(); err != nil {
				return fmt.Errorf("read the snapshot at byte %d of %d: %w", s.read, s.size, err)
			}
		}
		c := s.chunks[(s.next-s.base+snapshotChunk-1)/snapshotChunk]
		if s.next+uint64(len(c)) > s.granted {
			return nil
		}
		if !s.sendFrame(snapHeader{kind: snapData, transfer: s.id, offset: s.next, total: s.size}, c) {
			return nil // again after resyncEvery
		}
		s.next += uint64(len(c))
	}
	return nil
}

var errSourceStuck = errors.New("the database gives nothing")

// readChunk reads the next chunk. A source that gives nothing for SnapshotStall, or
// until the transport stops, is closed, which is the only way to end its Read. The
// counter that etcd keeps around it is not made for that; what it says is not used.
func (s *sendTransfer) readChunk() error {
	var why atomic.Pointer[error]
	end := func(err error) {
		why.CompareAndSwap(nil, &err)
		s.source.Close()
	}
	timer := time.AfterFunc(s.p.t.cfg.SnapshotStall, func() { end(errSourceStuck) })
	defer timer.Stop()
	defer context.AfterFunc(s.p.ctx, func() { end(context.Cause(s.p.ctx)) })()
	c := newChunk(int(min(snapshotChunk, s.size-s.read)))
	_, err := io.ReadFull(s.source, c)
	if err != nil {
		if cause := why.Load(); cause != nil {
			return *cause
		}
		return err
	}
	s.chunks = append(s.chunks, c)
	s.read += uint64(len(c))
	return nil
}

// bulkRest is how long a peer gets snapshots by datagrams after its stream lost one's
// frames: a way that takes small segments and no large ones looks well otherwise.
const bulkRest = time.Minute

// bulkRoad is the road of snapshots: streams instead of datagrams, where they are listed
// and up. The kernel keeps them going while members wait for a processor; datagrams wait
// for acknowledgements that the peer has to find the time for, after as many as its
// socket takes.
func (p *peer) bulkRoad(size int) *road {
	r, s := p.bestRoad(size), p.t.stream()
	if r != nil && r.name == FabricUDP && slices.Contains(p.t.cfg.Fabrics, FabricStream) &&
		size <= s.caps.MaxFrame && p.isUp(s.index) && !p.bulkLost.within(bulkRest) {
		return s
	}
	return r
}

func (s *sendTransfer) sendFrame(h snapHeader, body []byte) bool {
	if s.p.paused.Load() {
		return false
	}
	r := s.p.bulkRoad(len(body) + snapPatchLen)
	if r == nil {
		return false
	}
	err := r.port.Send([]fabric.Outgoing{{
		To: []fabric.MemberID{s.p.member}, Patch: [][]byte{appendSnapPatch(nil, h, body)}, Body: body,
		Lane: fabric.LaneBulk, Class: fabric.ClassFIFO, Ticket: s.id, Stamp: s.p.t.ordering.reserve(1),
	}})
	return err == nil
}

func (s *sendTransfer) handleAnswers() (done, progress bool, err error) {
	s.mu.Lock()
	answers := s.answers
	s.answers = nil
	s.mu.Unlock()
	s.heard = s.heard || len(answers) > 0
	for _, a := range answers {
		switch a.kind {
		case snapDone:
			if a.text != "" {
				return true, true, fmt.Errorf("member %s: %s", s.p.id, a.text)
			}
			return true, true, nil
		case snapProgress, snapRewind:
			if a.offset < s.base || a.offset > s.read || (a.offset != s.read && (a.offset-s.base)%snapshotChunk != 0) {
				if a.offset < s.base {
					if a.kind == snapRewind {
						s.askLater()
					}
					continue // overtaken by a newer one; a receiver that has forgotten all says so
				}
				return true, false, fmt.Errorf("member %s asks for byte %d, between %d and %d can be had: it was restarted or misbehaves", s.p.id, a.offset, s.base, s.read)
			}
			// While the receiver saves, all is consumed and nothing rises.
			progress = progress || a.offset > s.base || a.offset == s.size
			s.drop(a.offset)
			s.granted = max(s.granted, a.offset+min(a.total, uint64(s.p.t.cfg.SnapshotWindow)))
			if a.kind == snapRewind {
				s.next = a.offset
			}
			s.next = max(s.next, s.base)
		}
	}
	return false, progress, nil
}

// drop lets go of the chunks before offset: the receiver has consumed them.
func (s *sendTransfer) drop(offset uint64) {
	for len(s.chunks) > 0 && s.base+uint64(len(s.chunks[0])) <= offset {
		s.base += uint64(len(s.chunks[0]))
		s.chunks[0].free()
		s.chunks[0] = nil
		s.chunks = s.chunks[1:]
	}
}

// answer takes what the receiver says, from the goroutine that received it.
func (s *sendTransfer) answer(h snapHeader, text string) {
	s.mu.Lock()
	if len(s.answers) == maxAnswers {
		s.answers = s.answers[1:]
	}
	s.answers = append(s.answers, snapAnswer{h, text})
	s.mu.Unlock()
	s.poke()
}

// resync makes run ask the receiver where to go on.
func (s *sendTransfer) resync() {
	s.askLater()
	s.poke()
}

// askLater makes it ask when it comes round again.
func (s *sendTransfer) askLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask = true
}

func (s *sendTransfer) takeAsk() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ask := s.ask
	s.ask = false
	return ask
}

func (s *sendTransfer) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
