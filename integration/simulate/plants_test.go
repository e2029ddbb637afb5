package simulate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/ordered"
	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/election"
)

// plant is a bug that a check must see in one of a few seeds.
type plant struct {
	check, name string
	members     int
	put         func(cfg *Config)
}

const plantSeeds = 12

// run returns the first report in which the check complains, or nil.
func (p *plant) run(t *testing.T) *Report {
	for seed := range uint64(plantSeeds) {
		cfg := Config{Seed: seed + 1, Members: p.members, Duration: 40 * time.Second, Proposals: 1, MinFaults: -1}
		p.put(&cfg)
		r := run(t, cfg)
		for _, f := range r.Failures {
			if f.Check == p.check {
				return r
			}
		}
	}
	return nil
}

var plants = []plant{
	{"F1", "two frames change places", 3, onHandler(func(h *badHandler) { h.swap = true })},
	{"F1", "a frame comes twice", 3, onHandler(func(h *badHandler) { h.twice = true })},
	{"F1", "a frame is dropped and no gap reported", 3, onHandler(func(h *badHandler) { h.drop = true })},
	{"F1", "a frame is altered", 3, onHandler(func(h *badHandler) { h.alter = true })},
	{"F2", "a ticket never resolves", 3, onHandler(func(h *badHandler) { h.swallow = true })},
	{"F2", "a ticket resolves twice", 3, onHandler(func(h *badHandler) { h.again = true })},
	{"F2", "what was lost is called acked", 3, onHandler(func(h *badHandler) { h.lie = true })},
	{"F3", "without credit the port queues on its own", 3, crowded(func(cfg *Config) {
		cfg.hooks.port = func(_ *cluster, _ fabric.MemberID, p fabric.Port) fabric.Port { return hoarder{p} }
	})},
	{"R1", "newest term with greatest index", 5, func(cfg *Config) {
		onWriter(func(w ackWriter) ackWriter { return &pairingWriter{ackWriter: w} })(cfg)
		cfg.hooks.schedule = minorities
	}},
	{"R1", "an ack of one more than was written", 3, onWriter(func(w ackWriter) ackWriter { return oneMore{w} })},
	{checkLeader, "rejected votes are taken for granted", 5, func(cfg *Config) {
		cfg.Arbiter = func(Host) Arbiter { return forger{idle{}} }
		cfg.hooks.schedule = splits
	}},
	{checkVotes, "term and vote are not written", 3, onPersist(func(_ *member, w *write) {
		if w.hard != nil {
			w.hard = &raftpb.HardState{Term: new(uint64(firstTerm)), Commit: w.hard.Commit}
		}
	}, checkLog, checkDurable)},
	{checkLog, "an entry changes on its way to the disk", 3, onPersist(func(m *member, w *write) {
		if m.id == 2 && len(w.entries) > 0 {
			w.entries = slices.Clone(w.entries)
			w.entries[0] = proto.CloneOf(w.entries[0])
			w.entries[0].Data = append([]byte{1}, w.entries[0].Data...)
		}
	})},
	{checkDurable, "answers leave before they are on disk", 3, func(cfg *Config) {
		cfg.hooks.early = func(*member) bool { return true }
	}},
	{checkComplete, "the disk says it has what it has not", 3, onPersist(func(_ *member, w *write) {
		w.entries = nil
		if w.hard != nil {
			w.hard.Commit = new(uint64(firstIndex))
		}
	}, checkDurable, checkVotes, checkLog, checkMachine)},
	{checkMachine, "one member applies something else", 3, func(cfg *Config) {
		cfg.hooks.apply = func(m *member, index uint64, cmd *command) {
			if m.id == 3 && index%64 == 0 {
				cmd.key = (cmd.key + 1) % keys
			}
		}
	}},
	{checkLinear, "reads are answered from what a member has", 3, func(cfg *Config) {
		cfg.hooks.stale = func(*member) bool { return true }
	}},
	{checkLinear, "a put is answered and forgotten by all", 3, func(cfg *Config) {
		cfg.hooks.apply = func(_ *member, index uint64, cmd *command) {
			if index%128 == 0 {
				cmd.key = (cmd.key + 1) % keys
			}
		}
	}},
	{"E1", "two members do not wait for anybody's word", 5, onElector(func(h Host) Arbiter {
		r := &rebel{Host: h}
		r.Arbiter = Elections(election.On)(r)
		return r
	})},
	{"E2", "rejected votes are taken for granted", 5, onElector(func(h Host) Arbiter { return forger{Elections(election.On)(h)} })},
	{"E2", "leases for reads beside forced campaigns", 3, func(cfg *Config) {
		onElector(Elections(election.On))(cfg)
		cfg.hooks.raft = func(rc *raft.Config) { rc.ReadOnlyOption = raft.ReadOnlyLeaseBased }
		cfg.hooks.schedule = minorities
	}},
	{"E3", "what was held is never released", 3, onElector(func(h Host) Arbiter {
		k := &keeper{Host: h}
		k.Arbiter = Elections(election.On)(k)
		return k
	})},
	{"E3", "an arbiter holds for longer than is said", 3, onElector(func(h Host) Arbiter {
		cfg := electionConfig(h.ID())
		cfg.Hold *= 3
		return newElector(h, election.On, cfg)
	})},
	{"E4", "a row names another nominee", 3, onElector(func(h Host) Arbiter { return &turncoat{Arbiter: Elections(election.On)(h), id: h.ID()} })},
	{checkElections, "a row says that a term falls", 3, onElector(func(h Host) Arbiter { return &forgetful{Arbiter: Elections(election.On)(h)} })},
	{checkB1, "a barrier falls", 3, onViews(func(cfg *Config) {
		calls := 0
		cfg.hooks.barrier = func(_ *node, s fabric.Stamp) fabric.Stamp {
			if calls++; calls%100 == 0 {
				return fabric.Stamp{}
			}
			return s
		}
	})},
	{checkB2, "a barrier runs ahead", 3, onViews(func(cfg *Config) {
		cfg.hooks.barrier = func(_ *node, s fabric.Stamp) fabric.Stamp {
			s.Time += int64(time.Second)
			return s
		}
	})},
	{checkO1, "a delivery is missing", 3, onViews(func(cfg *Config) {
		calls := 0
		cfg.hooks.told = func(n *node, e *ordered.Event) bool {
			if n.m.id == 2 && e.View == nil {
				calls++
			}
			return n.m.id != 2 || e.View != nil || calls%5 != 0
		}
	})},
	{checkO2, "what was sent is altered", 3, onViews(func(cfg *Config) {
		cfg.hooks.told = func(n *node, e *ordered.Event) bool {
			if n.m.id == 2 && e.View == nil && len(e.Body) > 0 {
				e.Body = append(slices.Clone(e.Body), 1)
			}
			return true
		}
	})},
	{checkO2, "what nobody sent is delivered", 3, onViews(func(cfg *Config) {
		cfg.hooks.told = func(_ *node, e *ordered.Event) bool {
			if e.View == nil {
				e.Seq += 1000
			}
			return true
		}
	})},
	{checkO3, "agreed is called safe", 5, onViews(func(cfg *Config) {
		cfg.hooks.told = func(_ *node, e *ordered.Event) bool {
			if e.View == nil {
				e.Class, e.Safe = fabric.ClassSafe, true
			}
			return true
		}
	})},
	{checkV1, "a member installs another value", 3, onViews(func(cfg *Config) {
		cfg.hooks.told = func(n *node, e *ordered.Event) bool {
			if n.m.id == 3 && e.View != nil {
				in, v := *e.View, *e.View.View
				v.Floor.Logical++
				in.View, e.View = &v, &in
			}
			return true
		}
	})},
	{checkV2, "a member hears no rows from some time on", 3, onViews(func(cfg *Config) {
		cfg.hooks.deafRow = func(n *node) bool { return n.m.id == 2 && n.c.net.Now() > 20*time.Second }
	})},
	{checkLive, "from some time on nothing is sent", 3, func(cfg *Config) {
		cfg.hooks.port = func(c *cluster, _ fabric.MemberID, p fabric.Port) fabric.Port { return mute{p, c} }
	}},
}

// onElector plants in what stands between arbiters and their members.
func onElector(arbiter func(h Host) Arbiter) func(cfg *Config) {
	return func(cfg *Config) { cfg.Elections, cfg.Arbiter, cfg.Failovers = election.On, arbiter, 6 }
}

// onViews plants in runs with views.
func onViews(put func(cfg *Config)) func(cfg *Config) {
	return func(cfg *Config) {
		cfg.Views, cfg.Elections = true, election.On
		put(cfg)
	}
}

// rebel campaigns when an election starts, if it is one of two, and gives its
// raft every vote request at once.
type rebel struct {
	Arbiter
	Host
}

func (r *rebel) Event(e election.Event) {
	r.Host.Event(e)
	if id := uint64(r.ID()); e.Kind == election.EventStarted && id <= 2 {
		r.Step(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id, Term: r.Status().Term})
	}
}

func (r *rebel) Receive(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgVote || r.Arbiter.Receive(m)
}

// keeper keeps what it should release.
type keeper struct {
	Arbiter
	Host
	now *raftpb.Message
}

func (k *keeper) Receive(m *raftpb.Message) bool {
	k.now = m
	return k.Arbiter.Receive(m)
}

func (k *keeper) Step(m *raftpb.Message) {
	if m == k.now || m.GetFrom() == uint64(k.ID()) {
		k.Host.Step(m)
	}
}

// turncoat endorses itself in every other row.
type turncoat struct {
	Arbiter
	id   fabric.MemberID
	rows int
}

func (c *turncoat) AppendSection(dst []byte) []byte {
	start := len(dst)
	dst = c.Arbiter.AppendSection(dst)
	if s, ok := fabric.FindSection(dst[start:], fabric.SectionArbiter); ok && c.id == 3 {
		if c.rows++; c.rows%2 == 0 && binary.LittleEndian.Uint64(s.Value[endorsedNominee:]) != 0 {
			binary.LittleEndian.PutUint64(s.Value[endorsedNominee:], uint64(c.id))
		}
	}
	return dst
}

// forgetful claims the first term, and nobody in it, in every hundredth row.
type forgetful struct {
	Arbiter
	rows int
}

func (f *forgetful) AppendSection(dst []byte) []byte {
	start := len(dst)
	dst = f.Arbiter.AppendSection(dst)
	if s, ok := fabric.FindSection(dst[start:], fabric.SectionArbiter); ok {
		if f.rows++; f.rows%100 == 0 {
			clear(s.Value[:20])
		}
	}
	return dst
}

func onHandler(set func(h *badHandler)) func(cfg *Config) {
	return func(cfg *Config) {
		cfg.hooks.handler = func(_ *cluster, id fabric.MemberID, h fabric.Handler) fabric.Handler {
			if id != 2 {
				return h
			}
			b := &badHandler{Handler: h}
			set(b)
			return b
		}
	}
}

func onWriter(wrap func(w ackWriter) ackWriter) func(cfg *Config) {
	return func(cfg *Config) {
		cfg.hooks.writer = func(id fabric.MemberID) ackWriter { return wrap(raftdv.NewRowWriter(id)) }
	}
}

// onPersist plants in what is written; power is lost often, so that it shows.
func onPersist(h func(m *member, w *write), mute ...string) func(cfg *Config) {
	return func(cfg *Config) {
		cfg.hooks.persist = h
		cfg.hooks.mute = map[string]bool{}
		for _, m := range mute {
			cfg.hooks.mute[m] = true
		}
		cfg.hooks.schedule = func([]Fault) (faults []Fault) {
			for i := range 8 {
				kind := "crash"
				if i%2 == 1 {
					kind = "power-loss"
				}
				faults = append(faults, Fault{i, kind, time.Duration(4+3*i) * time.Second, 200 * time.Millisecond})
			}
			return faults
		}
	}
}

// crowded has large entries, small queues, and members that take nothing.
func crowded(more func(cfg *Config)) func(cfg *Config) {
	return func(cfg *Config) {
		cfg.hooks.size = 16 << 10
		cfg.hooks.network = func(n *sim.Config) { n.MaxFrame, n.QueueBytes = 64<<10, 96<<10 }
		cfg.hooks.schedule = func([]Fault) (faults []Fault) {
			for i := range 4 {
				faults = append(faults, Fault{i, "stuck-handler", time.Duration(4+4*i) * time.Second, 3 * time.Second})
			}
			return faults
		}
		more(cfg)
	}
}

// splits leave no leader for long, again and again.
func splits([]Fault) (faults []Fault) {
	for i := range 6 {
		faults = append(faults, Fault{2 * i, "loss", time.Duration(4+4*i) * time.Second, 3500 * time.Millisecond},
			Fault{2*i + 1, "delay", time.Duration(4+4*i) * time.Second, 3500 * time.Millisecond},
			Fault{100 + i, "crash-leader", time.Duration(4+4*i)*time.Second + 10*time.Millisecond, 2 * time.Second})
	}
	return faults
}

// minorities lets a leader write to a minority until another is elected.
func minorities([]Fault) (faults []Fault) {
	for i := range 8 {
		faults = append(faults, Fault{i, "split", time.Duration(4+4*i) * time.Second, time.Duration(1600+100*i) * time.Millisecond})
	}
	return faults
}

// badHandler breaks what a port says to its member, every so often.
type badHandler struct {
	fabric.Handler
	swap, twice, drop, alter, swallow, again, lie bool

	calls int
	held  *fabric.Frame
}

const badEvery = 50

func (h *badHandler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	h.calls++
	f := frames[len(frames)-1]
	f.Body, f.Patch = bytes.Clone(f.Body), bytes.Clone(f.Patch)
	switch {
	case from != 1 || h.calls < badEvery:
	case h.swap && h.held == nil && f.Lane == fabric.LaneAppend:
		h.held = &f
		return
	case h.swap && h.held != nil && f.Lane == fabric.LaneAppend:
		h.Handler.Deliver(from, frames)
		h.Handler.Deliver(from, []fabric.Frame{*h.held})
		h.held, h.calls = nil, 0
		return
	case h.twice:
		h.Handler.Deliver(from, frames)
		h.calls = 0
	case h.drop:
		h.calls = 0
		return
	case h.alter:
		f.Patch[len(f.Patch)-1] ^= 1
		frames = append(slices.Clone(frames[:len(frames)-1]), f)
		h.calls = 0
	}
	h.Handler.Deliver(from, frames)
}

func (h *badHandler) Resolve(settled []fabric.Resolution) {
	for _, r := range settled {
		h.calls++
		switch {
		case h.swallow && h.calls%badEvery == 0:
			continue
		case h.again && h.calls%badEvery == 0:
			h.Handler.Resolve([]fabric.Resolution{r})
		case h.lie:
			r.Err = nil
		}
		h.Handler.Resolve([]fabric.Resolution{r})
	}
}

// hoarder takes what its port refuses for want of credit.
type hoarder struct{ fabric.Port }

func (h hoarder) Send(batch []fabric.Outgoing) error {
	err := h.Port.Send(batch)
	se, ok := errors.AsType[*fabric.SendError](err)
	if !ok {
		return err
	}
	se.Refused = slices.DeleteFunc(se.Refused, func(r fabric.Refusal) bool { return errors.Is(r.Err, fabric.ErrNoCredit) })
	if len(se.Refused) == 0 {
		return nil
	}
	return se
}

// mute sends nothing from its 20th second on.
type mute struct {
	fabric.Port
	c *cluster
}

func (m mute) Send(batch []fabric.Outgoing) error {
	if m.c.net.Now() < 20*time.Second {
		return m.Port.Send(batch)
	}
	se := &fabric.SendError{}
	for i, o := range batch {
		for _, to := range o.To {
			se.Refused = append(se.Refused, fabric.Refusal{Index: i, To: to, Ticket: o.Ticket, Err: fabric.ErrLinkDown})
		}
	}
	return se
}

// Where in a row's sections the ack has its index (see raftdv/rowack.go).
const ackIndex = 8 + 16

// pairingWriter says the newest term with the greatest index ever.
type pairingWriter struct {
	ackWriter
	greatest uint64
}

func (w *pairingWriter) AppendSection(dst []byte) []byte {
	dst = w.ackWriter.AppendSection(dst)
	w.greatest = max(w.greatest, binary.LittleEndian.Uint64(dst[ackIndex:]))
	if binary.LittleEndian.Uint64(dst[ackIndex:]) != 0 {
		binary.LittleEndian.PutUint64(dst[ackIndex:], w.greatest)
	}
	return dst
}

// oneMore acks an index that was not written.
type oneMore struct{ ackWriter }

func (w oneMore) AppendSection(dst []byte) []byte {
	dst = w.ackWriter.AppendSection(dst)
	if index := binary.LittleEndian.Uint64(dst[ackIndex:]); index > 100 {
		binary.LittleEndian.PutUint64(dst[ackIndex:], index+1)
	}
	return dst
}

// idle is an arbiter that does nothing.
type idle struct{}

func (idle) Receive(*raftpb.Message) bool     { return true }
func (idle) Sent([]*raftpb.Message)           {}
func (idle) Row(fabric.MemberID, *fabric.Row) {}
func (idle) AppendSection(dst []byte) []byte  { return dst }
func (idle) Link(fabric.MemberID, bool)       {}
func (idle) Heard(fabric.MemberID)            {}
func (idle) Reconfigured()                    {}
func (idle) Wake()                            {}

// forger makes grants of rejections.
type forger struct{ Arbiter }

func (f forger) Receive(m *raftpb.Message) bool {
	if t := m.GetType(); t == raftpb.MsgVoteResp || t == raftpb.MsgPreVoteResp {
		m.Reject = nil
	}
	return f.Arbiter.Receive(m)
}
