package simulate

import (
	"hash/crc32"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/raftdv/election"
)

// Failure is one thing that a run found wrong.
type Failure struct {
	// Check names the invariant, or what else was checked.
	Check string        `json:"check"`
	At    time.Duration `json:"at"`
	What  string        `json:"what"`
}

// The names of what is checked. Those of raft share a prefix.
const (
	checkLeader   = "raft: one leader per term"
	checkLog      = "raft: log matching"
	checkComplete = "raft: leader completeness"
	checkMachine  = "raft: state machine safety"
	checkDurable  = "raft: committed is on a majority of disks"
	checkVotes    = "raft: one vote per term"
	checkLinear   = "linearizable"
	checkLive     = "live"
	// checkElections: an arbiter refuses what an honest member said.
	checkElections = "elections"
)

// checks are told what happens, each in a file of its own.
type checks struct {
	c       *cluster
	ledger  ledger // F1, F2, F3
	rows    emittedAcks
	leaders leaderCheck
	logs    logCheck
	commits commitCheck
	votes   voteCheck
	rounds  rounds
	polls   electionCheck    // E1
	holds   heldCheck        // E3
	words   endorsementCheck // E4
	orders  orderCheck       // B1 to V2
	queue   int              // the ports' bound
}

func (k *checks) init(c *cluster) {
	k.c = c
	k.queue = queueBytes
	if h := c.cfg.hooks.network; h != nil {
		cfg := sim.Config{QueueBytes: queueBytes}
		h(&cfg)
		k.queue = cfg.QueueBytes
	}
	k.ledger = newLedger(c)
	k.rows.seen = map[ackKey]struct{}{}
	k.leaders.of = map[uint64]*member{}
	k.logs.seen = map[position]logRecord{}
	k.votes.cast = map[ballot]uint64{}
	k.votes.spoken = map[*member]uint64{}
	k.rounds.init()
	k.polls.init(c)
	k.words.words = map[attempt]word{}
	k.orders.init(c)
	if c.cfg.Elections != election.Off {
		k.holds.limit, k.words.window = electionHold, electionWindow
	}
}

// started: a member runs, for the first time or again.
func (k *checks) started(n *node) { k.votes.started(n) }

// role: a member's role changed.
func (k *checks) role(n *node) {
	if n.leads {
		k.leaders.leads(n)
		k.rounds.elected(n)
		k.polls.elected(n)
		if t := k.c.trial; t != nil {
			t.elected(n)
		}
	}
}

// stepped: raft is given a message.
func (k *checks) stepped(n *node, m *raftpb.Message) {
	if m.GetType() == raftpb.MsgVote {
		k.rounds.stepped(n, m)
		k.polls.stepped(m)
		if t := k.c.trial; t != nil {
			t.stepped(m)
		}
	}
}

// emitted: raft hands out a message.
func (k *checks) emitted(n *node, m *raftpb.Message) {
	k.rows.emitted(m)
	k.votes.emitted(n, m)
	k.polls.emitted(n, m)
	if t := k.c.trial; t != nil {
		t.emitted(n, m)
	}
}

// published: a row goes out.
func (k *checks) published(n *node, row *fabric.Row) { k.words.published(n, row) }

// fromRow: a message was made of a row.
func (k *checks) fromRow(n *node, m *raftpb.Message) { k.rows.made(n, m) }

// stored: a write is in raft's log.
func (k *checks) stored(n *node, w *write) {
	k.logs.stored(n, w)
	k.commits.complete(n)
}

// committed: raft says that entries are, and they are about to be applied.
func (k *checks) committed(n *node, entries []*raftpb.Entry) { k.commits.committed(n, entries) }

// applied: a put is in the state machine.
func (k *checks) applied(n *node, index uint64) { k.commits.applied(n, index) }

// restored: a snapshot replaced the state machine.
func (k *checks) restored(n *node, s *raftpb.Snapshot) {
	k.commits.restored(n, s)
}

// look is called now and then.
func (k *checks) look() {
	k.ledger.look()
	k.holds.look(k.c)
}

// end is called when all has come to rest.
func (k *checks) end() {
	k.ledger.end()
	k.polls.settled(k.polls.last)
	k.c.clients.linearizable()
	k.c.clients.answered()
	k.c.caughtUp()
	k.orders.settled()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func digest(e *raftpb.Entry) uint64 {
	return uint64(crc32.Checksum(e.GetData(), castagnoli))<<32 ^ e.GetTerm()<<4 ^ uint64(e.GetType())
}
