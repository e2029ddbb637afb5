package election

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// EventKind says what an Event tells.
type EventKind uint8

const (
	// EventSuspected: Member is suspected, by Reason "silence", "closed" or
	// "stalled"; Took is the silence.
	EventSuspected EventKind = iota + 1
	// EventFalseSuspicion: Member was suspected by silence and lives. Took is
	// the silence.
	EventFalseSuspicion
	// EventStarted: a majority suspects the claim on Term; Member is who leads or
	// campaigns in it, 0 if nobody. Took is the time since Member was heard.
	EventStarted
	// EventEndorsed: this member endorses Member in Attempt; Took is the time
	// since the election started here.
	EventEndorsed
	// EventNominated: a majority endorses this member, its raft is told to
	// campaign. Reason names the way: "own term" or "raised term".
	EventNominated
	// EventFailed: nominee Member did not campaign, or did not win; Reason is
	// "silence", "closed", "patience" or "campaign".
	EventFailed
	// EventRound: a campaign for Term by Member was handed to raft, or is the
	// own one.
	EventRound
	// EventElected: Member leads Term. Took is the time since the election
	// started here, Detection the time from the last sign of the former leader to
	// that start; both 0 if none started here.
	EventElected
	// EventHeldBack: a campaign of Member was held back; Reason is "election",
	// "leader", or "insistent" if it came too soon after its last one.
	EventHeldBack
	// EventDiscarded: a campaign of Member that was held back was lost.
	EventDiscarded
	// EventAbstained: this member does not endorse; Reason says why.
	EventAbstained
	// EventGaveUp: an election lasted for Config.Hold without a campaign.
	EventGaveUp
	// EventRefusedTerm: Member says Term, too far above what is known.
	EventRefusedTerm
	// EventLate: the loop that drives the arbiter came late by Took; timers begin
	// anew.
	EventLate
	// EventOverflow: a message passed that should have been held.
	EventOverflow
	// EventPace: Patience becomes Took, since round trips demand it.
	EventPace
	// EventInsists: Member campaigns again and again, sooner than raft does and without
	// a majority's word. These campaigns are lost, and for Config.Rest after each of
	// them what Member tells of its term.
	EventInsists
	// EventRefused: an answer of Member's that would have raised the own raft's term to
	// Term was lost. It is told once in a Config.Rest of each member.
	EventRefused
)

var eventNames = [...]string{"", "suspected", "false-suspicion", "started", "endorsed", "nominated", "failed", "round", "elected",
	"held-back", "discarded", "abstained", "gave-up", "refused-term", "late", "overflow", "pace", "insists", "refused"}

func (k EventKind) String() string { return eventNames[k] }

// Event is for logs and metrics. What a field means depends on Kind; zero if it
// means nothing.
type Event struct {
	At        time.Duration
	Kind      EventKind
	Member    fabric.MemberID
	Term      uint64
	Attempt   uint32
	Reason    string
	Took      time.Duration
	Detection time.Duration
}

// Output is what an arbiter wants done since the last Take, in this order.
type Output struct {
	// Release goes to raft: messages that were held.
	Release []*raftpb.Message
	// Inject goes to raft after them: MsgTimeoutNow, or nil.
	Inject *raftpb.Message
	// Publish: the row has news for the peers.
	Publish bool
	// Events tell what happened, oldest first.
	Events []Event
}

// Verdict is what becomes of a message on its way to raft.
type Verdict uint8

const (
	// Pass: the message goes to raft.
	Pass Verdict = iota
	// Hold: an Output releases it within Config.Hold, or it is lost.
	Hold
	// Discard: the message is lost.
	Discard
)
