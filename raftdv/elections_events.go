package raftdv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// maxToldQueue bounds the events that wait to be logged and shown to watchers;
// the oldest go.
const maxToldQueue = 256

// LastElection is the last election that this member saw from its start to a
// leader.
type LastElection struct {
	Ended time.Time `json:"ended"`
	Term  uint64    `json:"term"`
	// Leader is who won.
	Leader string `json:"leader"`
	// Nominee is whom this member endorsed last in it, "" if nobody.
	Nominee string `json:"nominee,omitempty"`
	// Lost is the leader or candidate before, "" if there was none, and Reason
	// why this member suspected it, "" if it did not.
	Lost   string `json:"lost,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Rounds are the campaigns, as far as this member was asked for its vote or
	// campaigned itself.
	Rounds int `json:"rounds"`
	// Detection is the time from the last sign of the old leader to the start
	// of the election, Took that from there to a leader. In milliseconds.
	Detection float64 `json:"detection_ms"`
	Took      float64 `json:"took_ms"`
}

// eventCount is the key under which an arbiter's events are counted.
type eventCount struct {
	kind   election.EventKind
	reason string
}

// electionRecord is what is remembered of elections. The mutex of elections
// guards it.
type electionRecord struct {
	counts   map[eventCount]uint64
	nominees map[fabric.MemberID]uint64 // by member: how often this one endorsed it
	rounds   map[campaign]struct{}      // of the election that is on
	led      uint64                     // the newest term that somebody was seen to lead
	lost     fabric.MemberID
	reason   string
	nominee  fabric.MemberID
	ended    uint64
	last     *LastElection
}

func (r *electionRecord) init() {
	r.counts, r.nominees, r.rounds = map[eventCount]uint64{}, map[fabric.MemberID]uint64{}, map[campaign]struct{}{}
}

// forget drops what is kept of members that are no more.
func (r *electionRecord) forget(m *election.Members) {
	maps.DeleteFunc(r.nominees, func(id fabric.MemberID, _ uint64) bool {
		return !slices.Contains(m.Voters, id) && !slices.Contains(m.Outgoing, id)
	})
}

// note takes an event, and returns the election that it ends, if it ends one.
func (r *electionRecord) note(v *election.Event, now time.Time) (ended *LastElection) {
	r.counts[eventCount{v.Kind, v.Reason}]++
	switch v.Kind {
	case election.EventSuspected:
		r.reason = v.Reason
	case election.EventStarted:
		r.lost, r.nominee = v.Member, 0
	case election.EventEndorsed:
		r.nominee = v.Member
		r.nominees[v.Member]++
	case election.EventRound:
		// A row tells who leads before the vote requests of its campaign arrive.
		if v.Term > r.led && len(r.rounds) < maxRoundsCounted {
			r.rounds[campaign{v.Term, v.Member}] = struct{}{}
		}
	case election.EventElected:
		if v.Took > 0 || v.Detection > 0 {
			ended = &LastElection{
				Ended: now, Term: v.Term, Leader: v.Member.String(), Nominee: idText(r.nominee), Lost: idText(r.lost), Reason: r.reason,
				Rounds: len(r.rounds), Detection: milliseconds(v.Detection), Took: milliseconds(v.Took),
			}
			r.ended++
			r.last = ended
		}
		r.led = max(r.led, v.Term)
		r.begin()
	}
	return ended
}

// begin forgets what was seen of an election that is over, or that nobody sees to
// its end.
func (r *electionRecord) begin() {
	clear(r.rounds)
	r.lost, r.reason, r.nominee = 0, "", 0
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// idText is "" for nobody.
func idText(id fabric.MemberID) string {
	if id == 0 {
		return ""
	}
	return id.String()
}

// countedEvents are the events in the order in which they are shown, the usual
// reasons first, those that never happened included.
func (r *electionRecord) countedEvents() []eventCount {
	all := maps.Clone(r.counts)
	for kind := election.EventSuspected; kind <= election.EventRefused; kind++ {
		for _, reason := range usualReasons[kind] {
			all[eventCount{kind, reason}] += 0
		}
		if usualReasons[kind] == nil {
			all[eventCount{kind, ""}] += 0
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b eventCount) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason))
	})
}

// usualReasons have a series from the start, so that their first event shows in
// a rate.
var usualReasons = map[election.EventKind][]string{
	election.EventSuspected: {"silence", "closed", "stalled"},
	election.EventNominated: {"own term", "raised term"},
	election.EventFailed:    {"closed", "patience", "campaign"},
	election.EventHeldBack:  {"election", "leader", "insistent"},
	election.EventAbstained: {"bound", "late", "leads", "learner", "majority unknown", "position unknown", "restarted", "resting", "term too far"},
}

// happened counts an event, and has it told. mu is held.
func (e *elections) happened(v *election.Event) {
	now := time.Now()
	if last := e.record.note(v, now); last != nil {
		e.t.metrics.election(last)
	}
	e.told = append(e.told, toldEvent{now, *v})
	if n := len(e.told) - maxToldQueue; n > 0 {
		e.told = slices.Delete(e.told, 0, n)
	}
	select {
	case e.tellable <- struct{}{}:
	default:
	}
}

type toldEvent struct {
	at time.Time
	v  election.Event
}

// tell logs events and shows them to watchers. It has a goroutine of its own: a
// log may take its time.
func (e *elections) tell() {
	for {
		select {
		case <-e.tellable:
		case <-e.t.ctx.Done():
			return
		}
		e.mu.Lock()
		told := e.told
		e.told = nil
		e.mu.Unlock()
		for i := range told {
			e.tellOne(&told[i])
		}
	}
}

func (e *elections) tellOne(o *toldEvent) {
	v := &o.v
	what := &ElectionEvent{
		Kind: v.Kind.String(), Term: v.Term, Attempt: int(v.Attempt), Reason: v.Reason,
		Took: milliseconds(v.Took), Detection: milliseconds(v.Detection),
	}
	if v.Kind != election.EventHeldBack && v.Kind != election.EventDiscarded { // an attacker could make any number of them
		happened.add(Event{Time: o.at, Member: e.t.ID.String(), Peer: idText(v.Member), Election: what})
	}
	level := zapcore.InfoLevel
	switch v.Kind {
	case election.EventRefusedTerm, election.EventOverflow, election.EventGaveUp, election.EventInsists:
		level = zapcore.WarnLevel
	case election.EventHeldBack, election.EventDiscarded, election.EventLate, election.EventRound, election.EventRefused:
		level = zapcore.DebugLevel // any number of them
	}
	if c := e.t.lg.Check(level, "election: "+what.text(idText(v.Member))); c != nil {
		c.Write(zap.String("local-member-id", e.t.ID.String()), zap.Uint64("term", v.Term))
	}
}

// ElectionEvent: something happened in an election, or to the suspicion that may
// lead to one. The event's Peer is whom it is about, "" if nobody.
type ElectionEvent struct {
	// Kind is the name of one of package election's events.
	Kind    string `json:"kind"`
	Term    uint64 `json:"term,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Took and Detection are in milliseconds.
	Took      float64 `json:"took_ms,omitempty"`
	Detection float64 `json:"detection_ms,omitempty"`
}

// text describes the event; who is whom it is about.
func (e *ElectionEvent) text(who string) string {
	who = cmp.Or(who, "nobody")
	switch e.Kind {
	case election.EventSuspected.String():
		return fmt.Sprintf("%s is suspected in term %d%s (%.1f ms)", who, e.Term, because(e.Reason), e.Took)
	case election.EventFalseSuspicion.String():
		return fmt.Sprintf("%s was suspected and lives: it was silent for %.1f ms", who, e.Took)
	case election.EventStarted.String():
		return fmt.Sprintf("a majority suspects %s, who had term %d", who, e.Term)
	case election.EventEndorsed.String():
		return fmt.Sprintf("this member endorses %s in attempt %d after term %d", who, e.Attempt, e.Term)
	case election.EventNominated.String():
		return fmt.Sprintf("this member is nominated and campaigns: %s %d", e.Reason, e.Term)
	case election.EventFailed.String():
		return fmt.Sprintf("nominee %s failed%s", who, because(e.Reason))
	case election.EventRound.String():
		return fmt.Sprintf("%s campaigns for term %d", who, e.Term)
	case election.EventElected.String():
		if e.Took == 0 && e.Detection == 0 {
			return fmt.Sprintf("%s leads term %d", who, e.Term)
		}
		return fmt.Sprintf("%s leads term %d, %.1f ms after the start of the election, which came %.1f ms after the last sign of its predecessor", who, e.Term, e.Took, e.Detection)
	case election.EventHeldBack.String():
		return fmt.Sprintf("campaign of %s for term %d is held back%s", who, e.Term, because(e.Reason))
	case election.EventDiscarded.String():
		return fmt.Sprintf("campaign of %s for term %d is discarded", who, e.Term)
	case election.EventAbstained.String():
		return fmt.Sprintf("this member abstains%s", because(e.Reason))
	case election.EventGaveUp.String():
		return fmt.Sprintf("no campaign came of the suspicion against %s: raft is on its own for a while", who)
	case election.EventRefusedTerm.String():
		return fmt.Sprintf("%s says term %d, too far above what is known: its row is not followed", who, e.Term)
	case election.EventLate.String():
		return fmt.Sprintf("this member's loop was late by %.1f ms: nobody is suspected for that time", e.Took)
	case election.EventInsists.String():
		return fmt.Sprintf("%s campaigns again and again, for term %d now, and nobody asked it to: it is not heard as a candidate until it has stopped; look at its log, and restart it", who, e.Term)
	case election.EventRefused.String():
		return fmt.Sprintf("an answer of %s for term %d is lost: it would depose a leader that works, or is of who campaigns again and again", who, e.Term)
	case election.EventPace.String():
		return fmt.Sprintf("attempts of an election have %.0f ms now: round trips demand it", e.Took)
	case election.EventOverflow.String():
		return fmt.Sprintf("a message of %s passed that should have been held: too many are", who)
	}
	return fmt.Sprintf("%s about %s", e.Kind, who)
}
