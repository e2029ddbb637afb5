package raftdv

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// elections drive the arbiter of this member (protocol §6.4): everything that
// raft sends or is sent passes here, and so do rows and the ends of connections.
// What the arbiter wants done is done outside of its lock, by the goroutines of
// run and hand: Send may have been called by the very goroutine that raft's
// Process waits for.
type elections struct {
	t    *Transport
	wake chan struct{} // holds one: the membership is to be looked at
	off  atomic.Bool   // nothing is fed: there is nobody to ask for the members

	asking sync.Mutex // an older answer must not replace a newer one; taken before mu

	mu       sync.Mutex // guards the fields below: one input at a time, with its output
	arbiter  *election.Arbiter
	wanted   election.Mode
	mode     election.Mode // that the arbiter was given
	alarm    *alarm        // for the arbiter's deadline
	why      string        // why elections are raft's own although they are wanted otherwise
	members  election.Members
	refused  error // by the arbiter, of members
	record   electionRecord
	told     []toldEvent
	tellable chan struct{} // holds one: told is not empty

	hands handQueue
	// inRaft counts the messages that raft has not taken yet.
	inRaft atomic.Int32
}

// campaign is a round: a candidate of a term.
type campaign struct {
	term   uint64
	member fabric.MemberID
}

const (
	// maxRoundsCounted bounds the rounds that are told apart in one election.
	maxRoundsCounted = 64
	// membersEvery is how often the membership is asked for.
	membersEvery = maxWatch
	// electionTimeoutsMin: raft's own elections must not come before one that is
	// arbitrated may have ended.
	electionTimeoutsMin = 2 * (suspectAfter + holdLimit)
	// suspectAfter leaves ten milliseconds of sixty for the election and the first
	// write; holdLimit is election's default.
	suspectAfter = 50 * time.Millisecond
	holdLimit    = 100 * time.Millisecond
	// youth is how long after its start a member takes silence for nothing: members
	// that start together have much to do, and no delays have been observed yet that
	// would tell how long a silence is too long. A needless change of leader costs a
	// proposal that is under way, whose client waits for seconds. Connections that
	// close, and raft's own timers, count as always.
	youth = 3 * time.Second
	// idleBeat is how often members are heard that nobody waits for: each row of
	// theirs wakes all the others. They are suspected after three.
	idleBeat = 10 * suspectAfter / 3
)

var errNoMembers = errors.New("elections need to know the members: set Config.Members")

func (e *elections) init(t *Transport) error {
	e.t, e.alarm, e.wake, e.tellable = t, newAlarm(), make(chan struct{}, 1), make(chan struct{}, 1)
	e.hands.init()
	e.record.init()
	e.wanted = t.cfg.Elections
	if t.cfg.Members == nil {
		e.off.Store(true)
		return nil
	}
	var err error
	e.arbiter, err = election.New(election.Config{
		Self: t.member(), SuspectAfter: suspectAfter, Hold: holdLimit, IdleBeat: idleBeat,
		StallAfter: t.cfg.ElectionTimeout, Rest: t.cfg.ElectionTimeout,
		PreVote: t.cfg.PreVote, CheckQuorum: t.cfg.CheckQuorum,
	}, 0)
	if err != nil {
		return err
	}
	if t.cfg.Position != nil {
		term, lastTerm, lastIndex := t.cfg.Position()
		e.arbiter.Position(0, term, lastTerm, lastIndex)
	}
	return nil
}

// start begins to act; the roads are open.
func (e *elections) start() {
	if e.off.Load() {
		return
	}
	e.refresh()
	e.t.wg.Go(e.run)
	e.t.wg.Go(e.ask)
	e.t.wg.Go(e.hand)
	e.t.wg.Go(e.tell)
}

// input gives the arbiter something under the lock and takes what comes of it.
// It reports whether the row has news.
func (e *elections) input(f func(a *election.Arbiter, now time.Duration)) (publish bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e.arbiter, e.now())
	return e.take()
}

// now is the time of an input, called with mu held. Peers whose messages wait for
// raft are not silent: what they say next waits behind that. Neither is anybody while
// this member is young.
func (e *elections) now() time.Duration {
	now := time.Since(e.t.started)
	young := now < youth && !e.t.grown
	if young || e.inRaft.Load() > 0 {
		for _, p := range *e.t.peers.Load() {
			if young || p.inRaft.Load() > 0 {
				e.arbiter.Waits(now, p.member)
			}
		}
	}
	return now
}

// take is called with mu held.
func (e *elections) take() (publish bool) {
	out := e.arbiter.Take()
	for i := range out.Events {
		e.happened(&out.Events[i])
	}
	if len(out.Release) > 0 || out.Inject != nil {
		e.hands.add(out.Release, out.Inject, time.Since(e.t.started))
	}
	if due := e.arbiter.Deadline(); due != e.alarm.at {
		e.alarm.set(due, time.Since(e.t.started))
	}
	return out.Publish
}

// sent takes what raft handed to Send, before it goes out; publish has to
// follow.
func (e *elections) sent(msgs []*raftpb.Message) {
	if e.off.Load() {
		return
	}
	e.mu.Lock()
	e.arbiter.Sent(e.now(), msgs)
	news := e.take()
	e.mu.Unlock()
	if news {
		e.t.rows.toAll(e.t)
	}
}

// receive reports whether raft gets m now.
func (e *elections) receive(m *raftpb.Message) (pass bool) {
	if e.off.Load() {
		return true
	}
	e.mu.Lock()
	verdict := e.arbiter.Receive(e.now(), m)
	news := e.take()
	e.mu.Unlock()
	if news {
		e.publish()
	}
	return verdict == election.Pass
}

// row takes a peer's row.
func (e *elections) row(row *fabric.Row) error {
	if e.off.Load() {
		return nil
	}
	e.mu.Lock()
	err := e.arbiter.Row(e.now(), row)
	news := e.take()
	e.mu.Unlock()
	if news {
		e.publish()
	}
	if err != nil {
		return refused(row.Owner, RefusedRow, "row %d: %w", row.Version, err)
	}
	return nil
}

// gone: a peer's process has ended.
func (e *elections) gone(id fabric.MemberID) {
	if e.off.Load() {
		return
	}
	if e.input(func(a *election.Arbiter, now time.Duration) { a.Down(now, id) }) {
		e.publish()
	}
}

// back: a peer can be reached (again).
func (e *elections) back(id fabric.MemberID) {
	if e.off.Load() {
		return
	}
	if e.input(func(a *election.Arbiter, now time.Duration) { a.Up(now, id) }) {
		e.publish()
	}
}

// publish sends the row to all members now.
func (e *elections) publish() {
	e.t.rows.toAll(e.t)
	e.t.rows.publish(e.t)
}

// appendSection is called by whoever encodes the row.
func (e *elections) appendSection(dst []byte) []byte {
	if e.off.Load() {
		return dst
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.arbiter.AppendSection(dst)
}

// kick has ask look at the membership now.
func (e *elections) kick() {
	if e.wake == nil {
		return
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run lets time pass.
func (e *elections) run() {
	defer e.alarm.stop()
	for {
		select {
		case <-e.alarm.C:
		case <-e.t.ctx.Done():
			return
		}
		if e.input(func(a *election.Arbiter, now time.Duration) {
			e.alarm.rang()
			a.Advance(now)
		}) {
			e.publish()
		}
	}
}

// ask looks at the membership. It has a goroutine of its own: whoever knows the
// members may take their time, and no deadline waits for that.
func (e *elections) ask() {
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.wake:
		case <-e.t.ctx.Done():
			return
		}
		e.refresh()
	}
}

// SetElections switches the arbiter of this member, now and until the next
// start. It fails where nobody tells the transport who the members are.
func (t *Transport) SetElections(m election.Mode) error {
	e := &t.elections
	if err := e.canSwitch(m); err != nil || e.off.Load() {
		return err
	}
	e.mu.Lock()
	was := e.wanted
	e.wanted = m
	e.mu.Unlock()
	if was != m {
		t.lg.Info("elections switched", zap.String("local-member-id", t.ID.String()), zap.Stringer("from", was), zap.Stringer("to", m))
	}
	e.refresh()
	return nil
}

func (e *elections) canSwitch(m election.Mode) error {
	switch {
	case m > election.On:
		return fmt.Errorf("elections: %v is unknown: use off, observe or on", m)
	case m != election.Off && e.off.Load():
		return errNoMembers
	}
	return nil
}
