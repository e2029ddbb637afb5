package election

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"

	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/raftdv/dv/fabric"
)

// world runs real raft cores with arbiters in virtual time, on one thread: a
// network with delays, in order per pair, whose losses are retransmitted; disks
// that take time; members that crash, lose what they did not sync, and come
// back. It counts rounds and checks E2, E3 and E4 while it runs.
type world struct {
	setup   setup
	rng     *mathrand.Rand
	conf    *raftpb.ConfState
	now     time.Duration
	events  queue
	nodes   []*node
	cut     map[[2]uint64]bool // messages of raft get lost
	severed map[[2]uint64]bool // rows as well: one way

	counting  bool
	rounds    map[claim]bool
	leaders   map[uint64]uint64 // term: id
	decided   []string          // by index: term and data
	decidedIn []uint64          // the highest term that was led then
	words     map[wordKey]word
	seen      map[EventKind]int
	errs      []error

	script   []time.Duration // delays of the first frames after the kill, if not random
	scripted int
	check    func(*world, *node)

	plan    []crash
	revival time.Duration
	// attempts is the highest number of one since the start.
	attempts uint32
	crashed  int
	changed  int // changes of the configuration applied
	blinks   int // endorsers that will restart at once
	phases   map[phase]int
	targets  []fabric.MemberID // crashed nominees
}

type wordKey struct {
	member  uint64
	term    uint64
	attempt uint32
}

type word struct {
	nominee fabric.MemberID
	at      time.Duration
}

// setup is what a world is made of. Delays are bounded by reach, which the
// arbiters' Patience has to cover three times, with two of slowest.
type setup struct {
	seed        uint64
	voters      int
	conf        *raftpb.ConfState // instead of voters
	mode        Mode
	lossy       bool
	preVote     bool
	checkQuorum bool
	cfg         Config
	blind       bool           // nobody is given its position
	tamper      func(*Arbiter) // a planted bug
	forget      bool           // disks are empty after a restart: a planted bug
	stretch     int            // delays and disks take so many times as long
	sudden      bool           // from the kill on
	together    bool           // all members tick at about the same time
	deaf        bool           // nothing is ever held: a planted bug
}

const (
	minDelay   = 50 * time.Microsecond
	maxDelay   = time.Millisecond
	resendTime = time.Millisecond // a loss costs as much
	maxResends = 3
	minSync    = 100 * time.Microsecond
	maxSync    = 3 * time.Millisecond
	minHang    = 10 * time.Millisecond
	raftTick   = 100 * time.Millisecond
	raftElect  = 10
)

type node struct {
	id           uint64
	rate         time.Duration // of its clock, in percent
	up, reviving bool
	hangs        time.Duration // until then it does nothing
	life         uint64
	rn           *raft.RawNode
	storage      *raft.MemoryStorage
	arb          *Arbiter
	busy         bool
	leads        bool
	applied      uint64
	version      uint64
	wake         time.Duration
	since        map[*raftpb.Message]custody // what is held
	arrivals     map[uint64]time.Duration    // of the newest message to each member
}

// custody is since when a message is held, and for how long it may be.
type custody struct{ at, limit time.Duration }

// phase is when a nominee crashes. All of them are tried.
type phase int

const (
	atSeal        phase = iota // the best member, before anybody endorses it
	atEndorsed                 // when it has endorsed itself
	atNominated                // when it has seen its majority
	atInjected                 // raft campaigns, nothing is on disk
	atPersisted                // its vote is on disk, nothing is sent
	atSomeVotes                // some of its MsgVotes are out
	atAllVotes                 // all are
	atFirstGrant               // one vote has come in
	atElected                  // it leads, and nobody knows
	atSomeAppends              // some of its first MsgApps are out
	phases
)

var phaseNames = [...]string{"seal", "endorsed", "nominated", "injected", "persisted", "some votes", "all votes", "first grant", "elected", "some appends"}

func (p phase) String() string { return phaseNames[p] }

// crash is one of a nominee; silent: no port tells; hang: it stands still, and
// goes on later where it was.
type crash struct {
	at           phase
	silent, hang bool
	blink        bool // it comes back at once
}

// raftRandom makes raft's election timeouts repeatable.
type raftRandom struct{ *mathrand.PCG }

func (r raftRandom) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint64() >> 32)
	}
	return len(b), nil
}

func newWorld(s setup) *world {
	rand.Reader = raftRandom{mathrand.NewPCG(s.seed, 1)}
	w := &world{setup: s, rng: mathrand.New(mathrand.NewPCG(s.seed, 2)), cut: map[[2]uint64]bool{}, severed: map[[2]uint64]bool{},
		rounds: map[claim]bool{}, leaders: map[uint64]uint64{}, words: map[wordKey]word{}, seen: map[EventKind]int{}, phases: map[phase]int{}}
	conf := s.conf
	if conf == nil {
		conf = &raftpb.ConfState{}
		for i := range s.voters {
			conf.Voters = append(conf.Voters, uint64(i+1))
		}
	}
	ids := slices.Concat(conf.Voters, conf.VotersOutgoing, conf.Learners)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		n := &node{id: id, rate: 100, arrivals: map[uint64]time.Duration{}}
		n.format(conf)
		w.nodes = append(w.nodes, n)
	}
	w.conf, w.decided, w.decidedIn = conf, []string{"", "1:"}, []uint64{0, 1}
	for _, n := range w.nodes {
		w.start(n)
	}
	return w
}

// format gives a member a disk as all start with it.
func (n *node) format(conf *raftpb.ConfState) {
	n.storage, n.applied = raft.NewMemoryStorage(), 1
	must(n.storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(1)), Term: new(uint64(1)), ConfState: conf}}))
	must(n.storage.SetHardState(&raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(1))}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) node(id uint64) *node {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (w *world) fail(format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf("at %v: "+format, append([]any{w.now}, args...)...))
}

func (w *world) at(t time.Duration, do func()) { w.events.push(t, happening{do: do}) }

// after runs do for a node, unless it crashed meanwhile.
func (w *world) after(d time.Duration, n *node, do func()) {
	w.events.push(w.now+d, happening{n: n, life: n.life, do: do})
}

// happen does what is due.
func (w *world) happen(h happening) {
	switch n := h.n; {
	case n != nil && (!n.up || n.life != h.life):
	case n != nil && n.hangs > w.now:
		w.events.push(n.hangs, h)
	case h.m != nil:
		w.deliver(n, h.m)
	case h.row != nil:
		w.takeRow(n, h.row)
	case h.do != nil:
		h.do()
	case w.now == n.wake:
		n.arb.Advance(w.clock(n))
		w.act(n)
	}
}

// run lets time pass until done, or until the end.
func (w *world) run(until time.Duration, done func() bool) bool {
	for w.events.due(until) && len(w.errs) == 0 {
		at, h := w.events.pop()
		w.now = at
		w.happen(h)
		if done != nil && done() {
			return true
		}
	}
	if done == nil {
		w.now = until
	}
	return false
}

func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

// delay is how long a frame takes.
func (w *world) delay() time.Duration {
	if w.script != nil {
		if w.counting && w.scripted < len(w.script) {
			w.scripted++
			return w.script[w.scripted-1]
		}
		return (minDelay + maxDelay) / 2
	}
	d := w.between(minDelay, maxDelay)
	if w.setup.lossy {
		for range maxResends {
			if w.rng.IntN(5) > 0 {
				break
			}
			d += resendTime
		}
	}
	return w.stretched(d)
}

// stretched is how long it takes.
func (w *world) stretched(d time.Duration) time.Duration {
	if w.counting || !w.setup.sudden {
		d *= time.Duration(max(1, w.setup.stretch))
	}
	return d
}

func (w *world) start(n *node) {
	var err error
	n.up, n.busy, n.leads, n.wake, n.since = true, false, false, 0, map[*raftpb.Message]custody{}
	n.life++
	n.version = 0
	if w.setup.forget && n.life > 1 {
		n.format(w.conf)
	}
	n.rn, err = raft.NewRawNode(&raft.Config{ID: n.id, ElectionTick: raftElect, HeartbeatTick: 1, Storage: n.storage, Applied: n.applied,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 512, CheckQuorum: w.setup.checkQuorum, PreVote: w.setup.preVote, Logger: quietLogger{}})
	must(err)
	phase := w.between(0, raftTick)
	if w.setup.together {
		phase = raftTick/2 + w.between(0, time.Millisecond)
	}
	w.after(phase, n, func() { w.tick(n) })
	if w.setup.mode == Off {
		return
	}
	cfg := w.setup.cfg
	cfg.Self, cfg.PreVote, cfg.CheckQuorum = fabric.MemberID(n.id), w.setup.preVote, w.setup.checkQuorum
	n.arb, err = New(cfg, w.clock(n))
	must(err)
	n.arb.SetMode(w.clock(n), w.setup.mode)
	must(n.arb.SetMembers(w.clock(n), w.members(n)))
	if !w.setup.blind {
		hs, _, err := n.storage.InitialState()
		must(err)
		last, err := n.storage.LastIndex()
		must(err)
		term, err := n.storage.Term(last)
		must(err)
		n.arb.Position(w.clock(n), hs.GetTerm(), term, last)
	}
	for _, p := range w.nodes {
		if p != n && p.up && p.arb != nil {
			w.after(w.delay(), p, func() { p.arb.Up(w.clock(p), fabric.MemberID(n.id)); w.act(p) })
			w.after(w.delay(), n, func() {
				if p.up {
					n.arb.Up(w.clock(n), fabric.MemberID(p.id))
					w.act(n)
				}
			})
		}
	}
	w.act(n)
}

// clock is what a member's clock shows, when the time at which it shows t.
func (w *world) clock(n *node) time.Duration { return w.now * n.rate / 100 }

func (w *world) when(n *node, t time.Duration) time.Duration { return (t*100 + n.rate - 1) / n.rate }

func (w *world) members(n *node) (m Members) {
	_, conf, err := n.storage.InitialState()
	must(err)
	for _, l := range []struct {
		to  *[]fabric.MemberID
		ids []uint64
	}{{&m.Voters, conf.Voters}, {&m.Outgoing, conf.VotersOutgoing}, {&m.Learners, conf.Learners}} {
		for _, id := range l.ids {
			*l.to = append(*l.to, fabric.MemberID(id))
		}
	}
	return m
}

func (w *world) tick(n *node) {
	n.rn.Tick()
	w.pump(n)
	w.after(raftTick*100/n.rate, n, func() { w.tick(n) })
}

// crash stops a member; what its disk does not have is lost.
func (w *world) crash(n *node, silent bool) {
	n.up = false
	n.life++
	if silent {
		return
	}
	for _, p := range w.nodes {
		if p != n && p.up && p.arb != nil {
			w.after(w.delay(), p, func() {
				if !n.up {
					p.arb.Down(w.clock(p), fabric.MemberID(n.id))
					w.act(p)
				}
			})
		}
	}
}

// strike crashes a nominee if that is planned for now.
func (w *world) strike(n *node, at phase) bool {
	if len(w.plan) == 0 || w.plan[0].at != at || !n.up || !w.counting {
		return false
	}
	c := w.plan[0]
	w.plan = w.plan[1:]
	w.crashed++
	w.phases[at]++
	w.targets = append(w.targets, fabric.MemberID(n.id))
	if c.hang {
		least := w.between(minHang, w.revival) // shorter ones are delays, which Patience covers
		n.hangs = max(n.hangs, w.now+w.between(least, []time.Duration{2, 20}[w.rng.IntN(2)]*w.revival))
		return false
	}
	if c.blink {
		w.blink(n)
		return true
	}
	w.crash(n, c.silent)
	if w.upVoters() <= w.voterCount()/2 && w.reviving() < 1+w.voterCount()/2-w.upVoters() {
		w.reviveSomebody()
	}
	return true
}

func (w *world) voterCount() int { return len(w.members(w.nodes[0]).Voters) }

func (w *world) reviving() (n int) {
	for _, x := range w.nodes {
		if x.reviving {
			n++
		}
	}
	return n
}

func (w *world) upVoters() (n int) {
	for _, x := range w.nodes {
		if x.up {
			n++
		}
	}
	return n
}

// reviveSomebody restarts a member, so that a majority lives.
func (w *world) reviveSomebody() {
	var dead []*node
	for _, n := range w.nodes {
		if !n.up && !n.reviving {
			dead = append(dead, n)
		}
	}
	n := dead[w.rng.IntN(len(dead))]
	n.reviving = true
	w.at(w.now+w.between(w.revival, 10*w.revival), func() {
		n.reviving = false
		w.start(n)
	})
}

// pump handles what raft has ready, in etcd's order: a leader sends before it
// writes.
func (w *world) pump(n *node) {
	for n.up && !n.busy && n.rn.HasReady() {
		n.busy = true
		rd := n.rn.Ready()
		if rd.SoftState != nil {
			was := n.leads
			n.leads = rd.RaftState == raft.StateLeader
			if n.leads && !was && w.elected(n) {
				return
			}
		}
		msgs := outgoing(rd.Messages)
		leads := n.leads
		if leads {
			w.send(n, msgs)
		}
		if !n.up {
			return
		}
		finish := func() {
			if !raft.IsEmptyHardState(rd.HardState) {
				must(n.storage.SetHardState(rd.HardState))
			}
			must(n.storage.Append(rd.Entries))
			if slices.ContainsFunc(msgs, isVote) && w.strike(n, atPersisted) {
				return
			}
			for _, e := range rd.CommittedEntries {
				w.decide(n, e)
			}
			if !leads {
				w.send(n, msgs)
			}
			if n.up {
				n.rn.Advance(rd)
				n.busy = false
			}
		}
		if !rd.MustSync {
			finish()
			continue
		}
		w.after(w.stretched(w.between(minSync, maxSync)), n, func() {
			finish()
			w.pump(n)
		})
	}
}

func isCampaign(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgPreVote, raftpb.MsgVoteResp, raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow:
		return true
	}
	return false
}

func isVote(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgVote }

// outgoing is what etcd sends of a Ready: the last of several MsgAppResps.
func outgoing(msgs []*raftpb.Message) (out []*raftpb.Message) {
	for i, m := range msgs {
		if m.GetType() == raftpb.MsgAppResp && slices.ContainsFunc(msgs[i+1:], func(o *raftpb.Message) bool { return o.GetType() == raftpb.MsgAppResp }) {
			continue
		}
		out = append(out, m)
	}
	return out
}

// send puts messages on the wire, or some of them before a crash.
func (w *world) send(n *node, msgs []*raftpb.Message) {
	if len(msgs) == 0 {
		return
	}
	partial := -1
	for i, m := range msgs {
		if m.GetType() == raftpb.MsgVote && w.planned(atSomeVotes) || n.leads && m.GetType() == raftpb.MsgApp && w.counting && w.planned(atSomeAppends) {
			partial = i
		}
	}
	if partial >= 0 {
		w.rng.Shuffle(len(msgs), func(i, j int) { msgs[i], msgs[j] = msgs[j], msgs[i] })
		k := w.rng.IntN(len(msgs) + 1)
		for _, m := range msgs[:k] {
			w.route(n, m)
		}
		msgs = msgs[k:]
		at := atSomeVotes
		if n.leads {
			at = atSomeAppends
		}
		if w.strike(n, at) {
			return
		}
	}
	if n.arb != nil {
		n.arb.Sent(w.clock(n), msgs)
	}
	for _, m := range msgs {
		w.route(n, m)
	}
	if slices.ContainsFunc(msgs, isVote) && w.strike(n, atAllVotes) {
		return
	}
	if n.arb != nil {
		w.act(n)
	}
}

func (w *world) planned(at phase) bool { return w.counting && len(w.plan) > 0 && w.plan[0].at == at }

func (w *world) route(n *node, m *raftpb.Message) {
	to := w.node(m.GetTo())
	if to == nil || !to.up || w.cut[[2]uint64{n.id, to.id}] || w.severed[[2]uint64{n.id, to.id}] {
		return
	}
	if *verbose && w.counting && isCampaign(m) {
		fmt.Printf("%v %d: > %v\n", w.now, n.id, raft.DescribeMessage(m, nil))
	}
	at := max(max(w.now, n.hangs)+w.delay(), n.arrivals[to.id]+1)
	n.arrivals[to.id] = at
	w.events.push(at, happening{n: to, life: to.life, m: m})
}

func (w *world) deliver(n *node, m *raftpb.Message) {
	if n.arb != nil {
		switch v := n.arb.Receive(w.clock(n), m); {
		case v == Hold:
			n.since[m] = custody{w.now, n.arb.cfg.Hold}
			w.act(n)
			if !w.setup.deaf {
				return
			}
		case v == Discard:
			w.act(n)
			return
		}
	}
	w.step(n, m)
	if n.up && n.arb != nil {
		w.act(n)
	}
	w.pump(n)
}

// step hands a message to raft, and counts rounds.
func (w *world) step(n *node, m *raftpb.Message) {
	if *verbose && w.counting && isCampaign(m) {
		fmt.Printf("%v %d: < %v\n", w.now, n.id, raft.DescribeMessage(m, nil))
	}
	if w.counting && m.GetType() == raftpb.MsgVote {
		w.rounds[claim{m.GetTerm(), fabric.MemberID(m.GetFrom()), claimCampaign}] = true
	}
	_ = n.rn.Step(m) // dropped proposals and the like
	if m.GetType() == raftpb.MsgVoteResp && !m.GetReject() {
		w.strike(n, atFirstGrant)
	}
}

// act does what an arbiter wants.
func (w *world) act(n *node) {
	if !n.up {
		return
	}
	if w.setup.tamper != nil {
		w.setup.tamper(n.arb)
	}
	if w.check != nil {
		w.check(w, n)
	}
	out := n.arb.Take()
	for _, e := range out.Events {
		w.seen[e.Kind]++
		if *verbose && w.counting {
			fmt.Printf("%v %d: %v %+v\n", w.now, n.id, e.Kind, e)
		}
		if e.Kind == EventEndorsed {
			w.word(n, e)
		}
	}
	for _, h := range n.arb.held {
		w.checkHeld(n, h.m)
	}
	for _, m := range out.Release {
		w.checkHeld(n, m)
		delete(n.since, m)
		w.step(n, m)
	}
	if out.Publish {
		w.publish(n)
	}
	for _, e := range out.Events {
		if w.strikeAt(n, e) {
			return
		}
	}
	if out.Inject != nil {
		_ = n.rn.Step(out.Inject)
		if w.strike(n, atInjected) {
			return
		}
	}
	if at := w.when(n, n.arb.Deadline()); n.wake <= w.now || at < n.wake {
		n.wake = at
		w.events.push(max(w.now, at), happening{n: n, life: n.life})
	}
	w.pump(n)
}

func (w *world) strikeAt(n *node, e Event) bool {
	switch {
	case e.Kind == EventEndorsed && w.blinks > 0 && w.counting:
		w.blinks--
		w.blink(n)
		return true
	case e.Kind == EventStarted:
		return n.id == w.best() && w.strike(n, atSeal)
	case e.Kind == EventEndorsed && e.Member == fabric.MemberID(n.id):
		return w.strike(n, atEndorsed)
	case e.Kind == EventNominated:
		return w.strike(n, atNominated)
	}
	return false
}

// blink restarts a member at once.
func (w *world) blink(n *node) {
	w.crash(n, w.rng.IntN(2) == 0)
	w.at(w.now+w.between(minDelay, 5*time.Millisecond), func() { w.start(n) })
}

// best is the member that will be nominated first: the longest log, then the
// lowest id.
func (w *world) best() (id uint64) {
	var high entry
	for _, n := range w.nodes {
		if at := n.last(); n.up && (id == 0 || high.less(at)) {
			id, high = n.id, at
		}
	}
	return id
}

func (n *node) last() entry {
	i, err := n.storage.LastIndex()
	must(err)
	t, err := n.storage.Term(i)
	must(err)
	return entry{t, i}
}

// word checks E4, across restarts: an attempt is over for everybody three
// Patiences after anybody's endorsement.
func (w *world) word(n *node, e Event) {
	key := wordKey{n.id, e.Term, e.Attempt}
	if was, ok := w.words[key]; ok && w.now < was.at+startWait*n.arb.cfg.Patience*100/n.rate {
		w.fail("%w: %d endorses %v and %v in attempt %d of term %d, %v later", errE4, n.id, was.nominee, e.Member, e.Attempt, e.Term, w.now-was.at)
	}
	w.words[key] = word{e.Member, w.now}
	w.attempts = max(w.attempts, e.Attempt)
}

// checkHeld checks E3.
func (w *world) checkHeld(n *node, m *raftpb.Message) {
	c := n.since[m]
	if kept := (w.now - max(c.at, n.hangs)) * n.rate / 100; kept > c.limit || c.limit > n.arb.base.MaxHold {
		w.fail("%w: %d keeps %v for %v", errE3, n.id, m.GetType(), kept)
	}
}

func (w *world) publish(n *node) {
	n.version++
	row := &fabric.Row{Owner: fabric.MemberID(n.id), Incarnation: n.life, Version: n.version, Sections: n.arb.AppendSection(nil)}
	for _, p := range w.nodes {
		if p == n || !p.up || w.severed[[2]uint64{n.id, p.id}] {
			continue
		}
		w.events.push(max(w.now, n.hangs)+w.delay(), happening{n: p, life: p.life, row: row})
	}
}

func (w *world) takeRow(n *node, row *fabric.Row) {
	if err := n.arb.Row(w.clock(n), row); err != nil {
		w.fail("%w", err)
	}
	w.act(n)
}

// elected checks that a term has one leader, which has all that was decided.
func (w *world) elected(n *node) (struck bool) {
	st := n.rn.BasicStatus()
	if other, ok := w.leaders[st.GetTerm()]; ok && other != n.id {
		w.fail("%w: %d and %d lead term %d", errE2, other, n.id, st.GetTerm())
	}
	w.leaders[st.GetTerm()] = n.id
	last := n.last().index
	for i := 2; i < len(w.decided); i++ {
		if w.decidedIn[i] >= st.GetTerm() {
			continue // who wakes up to lead an older term may lack it
		}
		if uint64(i) > last {
			w.fail("%w: leader %d of term %d ends at %d, %d was decided", errE2, n.id, st.GetTerm(), last, len(w.decided)-1)
			break
		}
		es, err := n.storage.Entries(uint64(i), uint64(i+1), 1<<20)
		if err != nil || len(es) != 1 || text(es[0]) != w.decided[i] {
			w.fail("%w: leader %d of term %d lacks %q, which was decided at %d", errE2, n.id, st.GetTerm(), w.decided[i], i)
		}
	}
	return w.strike(n, atElected)
}

func text(e *raftpb.Entry) string { return fmt.Sprintf("%d:%s", e.GetTerm(), e.GetData()) }

func (w *world) decide(n *node, e *raftpb.Entry) {
	i := int(e.GetIndex())
	n.applied = e.GetIndex()
	switch {
	case i < len(w.decided) && w.decided[i] != text(e):
		w.fail("%w: %d decides %q at %d, others %q", errE2, n.id, text(e), i, w.decided[i])
	case i == len(w.decided):
		w.decided = append(w.decided, text(e))
		w.decidedIn = append(w.decidedIn, w.highest())
	case i > len(w.decided):
		w.fail("%w: %d decides %d before %d", errE2, n.id, i, len(w.decided))
	}
	w.reconfigure(n, e)
}

// reconfigure applies a change of the configuration at one member.
func (w *world) reconfigure(n *node, e *raftpb.Entry) {
	if e.GetType() != raftpb.EntryConfChangeV2 {
		return
	}
	cc := &raftpb.ConfChangeV2{}
	must(proto.Unmarshal(e.GetData(), cc))
	_, err := n.storage.CreateSnapshot(e.GetIndex(), n.rn.ApplyConfChange(cc), nil)
	must(err)
	w.changed++
	if n.arb != nil {
		must(n.arb.SetMembers(w.clock(n), w.members(n)))
	}
}

// The invariants, as errors.
var (
	errE1       = errors.New("E1")
	errE2       = errors.New("E2")
	errE3       = errors.New("E3")
	errE4       = errors.New("E4")
	errLive     = errors.New("not live")
	errAttempts = errors.New("attempts without end")
)

// leader is who leads the highest term and has decided something in it.
func (w *world) leader() *node {
	for _, n := range w.nodes {
		if !n.up || !n.leads {
			continue
		}
		st := n.rn.BasicStatus()
		if term, err := n.storage.Term(st.GetCommit()); err == nil && term == st.GetTerm() && w.leaders[term] == n.id && w.highest() == term {
			return n
		}
	}
	return nil
}

func (w *world) highest() (term uint64) {
	for t := range w.leaders {
		term = max(term, t)
	}
	return term
}

func (w *world) err() error { return errors.Join(w.errs...) }

// quietLogger keeps raft's panics and drops the rest.
type quietLogger struct{ raft.Logger }

func (quietLogger) Debug(...any)              {}
func (quietLogger) Debugf(string, ...any)     {}
func (quietLogger) Info(...any)               {}
func (quietLogger) Infof(string, ...any)      {}
func (quietLogger) Warning(...any)            {}
func (quietLogger) Warningf(string, ...any)   {}
func (quietLogger) Error(...any)              {}
func (quietLogger) Errorf(string, ...any)     {}
func (quietLogger) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (quietLogger) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
