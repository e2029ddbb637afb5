package simulate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/raftdv/election"
)

// Lab is a trial of an experiment: one fault, on a network and with settings of raft
// that a seed of the suite does not draw. What members are made of is the same.
type Lab struct {
	// Link is the network, Loss what it loses beside its own losses.
	Link sim.Model
	Loss float64
	// Heartbeat is raft's tick, Election its election timeout, a multiple of it.
	Heartbeat, Election  time.Duration
	PreVote, CheckQuorum bool
	// RowAcks: acks travel in rows. Retransmit: what is lost is sent again.
	RowAcks, Retransmit bool
	// Fault is one of LabFaults; Crashes bounds the members that it crashes, where it
	// crashes several.
	Fault   string
	Crashes int
	// Skew is how many entries a minority of followers lags when the fault strikes.
	Skew int
	// WarmUp is the time before that.
	WarmUp time.Duration
	// Rate of writes that begin in a second, Size of each in bytes.
	Rate, Size int
}

// LabResult is what a trial measured from the strike of the fault on.
type LabResult struct {
	Elections int // that a leader came of
	// Rounds are the distinct campaigns of the worst election whose request for votes
	// reached somebody (protocol §6.4), Campaigns those that were begun. One that was on
	// in the end counts.
	Rounds, Campaigns int
	SplitVotes        int // rounds that no leader came of
	Terms             uint64
	TimeToLeader      time.Duration // -1: there was no election
	Unavailable       time.Duration // without an acknowledged write, at the longest
	Acked             int
	Messages          int    // that rafts sent
	Bytes             uint64 // on the network: frames, rows, acknowledgements
	// Led: somebody leads in the end.
	Led      bool
	Failures []Failure
	Hash     uint64
}

// lateRetransmit is beyond every timeout.
const lateRetransmit = time.Hour

// Validate lists what is wrong.
func (l *Lab) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("simulate: "+format, args...))
		}
	}
	_, known := labFaults[l.Fault]
	check(known, "fault %q is unknown", l.Fault)
	check(l.Heartbeat > 0 && l.Election >= 2*l.Heartbeat && l.Election%l.Heartbeat == 0, "Election is %v, want a multiple of Heartbeat %v", l.Election, l.Heartbeat)
	check(l.Loss >= 0 && l.Loss < 1, "Loss is %v, want 0 to 1", l.Loss)
	check(l.Crashes >= 0 && l.Skew >= 0 && l.WarmUp >= 0 && l.Rate > 0 && l.Size >= commandLen, "Crashes, Skew or WarmUp is negative, Rate is not positive, or Size is below %d", commandLen)
	return errors.Join(errs...)
}

// RunLab runs a trial. Of cfg it takes Seed, Members, Elections, Views and Trace;
// Duration is that from the strike on. Clusters of more voters than arbiters and views
// have room for run without, as members of the transport do.
func RunLab(cfg Config, lab Lab) (*LabResult, error) {
	if err := lab.Validate(); err != nil {
		return nil, err
	}
	timeouts := &zerosFirst{over: lab.Fault != sameTimeouts, then: stream(cfg.Seed, streamRaft)}
	defer seedEntropy(rand.New(timeouts))()
	cfg.lab, cfg.MinFaults = &lab, -1
	if cfg.Members > election.MaxMembers { // as in the transport: elections are raft's own
		cfg.Elections = election.Off
	}
	if cfg.Members > barrier.MaxMembers {
		cfg.Views = false
	}
	c, err := newCluster(cfg)
	if err != nil {
		return nil, err
	}
	t := &labTrial{Lab: lab, timeouts: timeouts, c: c, rng: stream(cfg.Seed, streamFault), asked: map[ballot]bool{}, begun: map[ballot]bool{}, doomed: map[*node]bool{}}
	c.trial = t
	c.guarded(t.run)
	return &t.result, nil
}

// heartbeat and election are raft's timers, ticks how many of the first make the second.
func (c *Config) heartbeat() time.Duration {
	if c.lab != nil {
		return c.lab.Heartbeat
	}
	return raftTick
}

func (c *Config) ticks() int {
	if c.lab != nil {
		return int(c.lab.Election / c.lab.Heartbeat)
	}
	return electionTicks
}

func (c *Config) preVote() bool     { return c.lab == nil || c.lab.PreVote }
func (c *Config) checkQuorum() bool { return c.lab == nil || c.lab.CheckQuorum }

// labNetwork is the network of a trial.
func (l *Lab) network(seed uint64) sim.Config {
	cfg := sim.Config{Seed: seed, MaxFrame: maxFrame, QueueBytes: queueBytes, TicketTimeout: ticketTimeout}
	l.Link.Apply(&cfg)
	cfg.Faults.Loss += l.Loss
	if !l.Retransmit {
		cfg.RetransmitAfter = lateRetransmit
	}
	return cfg
}

// noRows holds nothing: every ack goes as a message.
type noRows struct{}

func (noRows) Repeats(*raftpb.Message) bool    { return false }
func (noRows) Note(*raftpb.Message) bool       { return false }
func (noRows) AppendSection(dst []byte) []byte { return dst }

// labTrial is a trial that is on.
type labTrial struct {
	Lab
	c      *cluster
	rng    *rand.Rand
	result LabResult

	struck   bool
	at       time.Duration // of the strike
	number   uint64        // of the newest write
	acked    time.Duration // the last acknowledgement
	term     uint64        // the highest at the strike, or led since
	first    uint64        // the highest at the strike
	asked    map[ballot]bool
	begun    map[ballot]bool
	before   struct{ messages int } // at the strike
	bytes    uint64                 // of incarnations that ended, and less what there was at the strike
	victims  int                    // that may still crash
	timeouts *zerosFirst
	doomed   map[*node]bool // that are about to
	phase    labPhase       // at which they do
}

func (t *labTrial) run() {
	c := t.c
	t.begin()
	t.load()
	lag := t.lag()
	t.advance(t.WarmUp)
	lag()
	t.strike()
	t.advance(t.at + c.cfg.Duration)
	t.finish()
}

// begin has one member campaign at once: a trial is not about the first election.
func (t *labTrial) begin() {
	n := t.c.members[t.rng.IntN(len(t.c.members))].node
	t.c.net.After(firstCampaign, func() {
		_ = n.rn.Campaign()
		n.settle()
	})
}

// firstCampaign is when all members have had time to hear each other.
const firstCampaign = 50 * time.Millisecond

// advance lets time pass, and looks at what is to hold.
func (t *labTrial) advance(end time.Duration) {
	const look = 100 * time.Millisecond
	for now := t.c.net.Now(); now < end && len(t.c.report.Failures) == 0; now = t.c.net.Now() {
		t.c.net.Advance(min(look, end-now))
		t.c.checks.look()
	}
}

// load begins writes at random times at random members. There is no limit to how many
// are under way: clients are many.
func (t *labTrial) load() {
	mean := float64(time.Second) / float64(t.Rate)
	t.c.net.After(time.Duration(t.rng.ExpFloat64()*mean), func() {
		m := t.c.members[t.rng.IntN(len(t.c.members))]
		if !m.dead && m.paused == 0 {
			t.write(m)
		}
		t.load()
	})
}

func (t *labTrial) write(m *member) {
	t.number++
	call := &call{cs: t.c.clients, number: t.number, key: uint8(t.rng.IntN(keys)), put: true, begun: t.c.clients.tick(), at: t.c.net.Now()}
	t.c.clients.calls = append(t.c.clients.calls, call)
	if !m.node.propose(call, (&command{call.number, call.key}).encode(t.Size)) {
		call.over, call.never = true, true
	}
}

// answered: a write was acknowledged.
func (t *labTrial) answered() {
	now := t.c.net.Now()
	if t.struck {
		t.result.Acked++
		t.result.Unavailable = max(t.result.Unavailable, now-t.acked)
	}
	t.acked = now
}

// lag cuts a minority of followers off shortly before the strike, has as many entries
// written as they are to lag, and returns what mends the links.
func (t *labTrial) lag() (mend func()) {
	k := &cuts{c: t.c}
	if t.Skew == 0 {
		return func() {}
	}
	t.c.net.At(t.WarmUp*3/4, func() {
		s := &strike{c: t.c, rng: t.rng}
		ms := s.shuffled()
		leader := t.c.leader()
		if leader == nil {
			return
		}
		late := len(ms) - (len(ms)-1)/2
		k.set(between(ms, func(a, b int) bool { return a < late && b < late }))
		for range t.Skew {
			t.write(leader)
		}
	})
	return func() { k.set(nil) }
}

func (t *labTrial) strike() {
	c := t.c
	t.struck, t.at, t.acked, t.timeouts.over = true, c.net.Now(), c.net.Now(), true
	for _, m := range c.members {
		t.term = max(t.term, m.node.term)
	}
	t.first = t.term
	t.before.messages = c.report.Messages
	t.bytes -= t.sent()
	t.result.TimeToLeader = -1
	if h := c.cfg.hooks.struck; h != nil {
		h(c)
	}
	f := labFaults[t.Fault]
	t.victims = max(t.Crashes-1, 0)
	c.trace("%s", t.Fault)
	c.checks.polls.breaks(t.Fault) // E1's assumption is for the suite to keep
	f(&strike{Fault{Kind: t.Fault, At: t.at, For: c.cfg.Duration}, c, t.rng}, t)
}

// sent is what all members have sent, in this life.
func (t *labTrial) sent() (n uint64) {
	for _, m := range t.c.members {
		if m.dead {
			continue
		}
		n += m.node.sim.WireBytes()
	}
	return n
}

// killed: a member's life ends.
func (t *labTrial) killed(m *member) {
	t.bytes += m.node.sim.WireBytes()
}

// emitted: raft hands out a message.
func (t *labTrial) emitted(n *node, m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgPreVote:
		t.reached(n, phaseSuspicion)
	case raftpb.MsgVote:
		if at := (ballot{m.GetFrom(), m.GetTerm()}); t.struck && at.term > t.term && !t.begun[at] {
			t.begun[at] = true
		}
		t.reached(n, phaseCampaign)
	}
}

// stepped: raft is given a message.
func (t *labTrial) stepped(m *raftpb.Message) {
	if at := (ballot{m.GetFrom(), m.GetTerm()}); t.struck && m.GetType() == raftpb.MsgVote && at.term > t.term {
		t.asked[at] = true
	}
}

// elected: somebody leads a term.
func (t *labTrial) elected(n *node) {
	if t.struck && n.term > t.term {
		t.closed(true)
		t.term = n.term
		t.result.Elections++
		if t.result.TimeToLeader < 0 {
			t.result.TimeToLeader = t.c.net.Now() - t.at
		}
	}
	t.reached(n, phaseVictory)
}

// closed ends an election.
func (t *labTrial) closed(led bool) {
	r := &t.result
	rounds := len(t.asked)
	r.Rounds, r.Campaigns = max(r.Rounds, rounds), max(r.Campaigns, len(t.begun))
	if led {
		rounds--
	}
	r.SplitVotes += max(rounds, 0)
	clear(t.asked)
	clear(t.begun)
}

func (t *labTrial) finish() {
	c, r := t.c, &t.result
	t.closed(false)
	r.Unavailable = max(r.Unavailable, c.net.Now()-t.acked)
	last := t.first
	for _, m := range c.members {
		last = max(last, m.node.term)
	}
	r.Terms = last - t.first
	r.Messages = c.report.Messages - t.before.messages
	r.Bytes = t.bytes + t.sent()
	r.Led = c.leader() != nil
	c.finish()
	r.Hash, r.Failures = c.report.Hash, c.report.Failures
}
