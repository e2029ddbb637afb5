package election

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/suspect"
)

// What the own raft is, as far as it showed.
const (
	roleFollower = iota
	roleCampaigner
	roleLeader
)

// Arbiter is one member's. Not for concurrent use; see the package's comment
// for what its caller owes.
type Arbiter struct {
	base    Config        // as configured
	cfg     Config        // in force: base at the pace of the network
	level   int           // how often it was doubled
	slowAt  time.Duration // when that was needed last
	pacedAt time.Duration // when it was computed last
	want    Mode
	members Members
	peers   []*peer           // by id; all members but this one
	ids     []fabric.MemberID // of those that vote: never changed in place
	now     time.Duration
	wakeAt  time.Duration
	out     Output

	// Of the own raft.
	role     int
	term     uint64
	pos      position
	progress uint64
	asked    claim // the campaign that was handed to raft last

	// Of the claim on the highest term.
	claim      claim
	since      time.Duration // when it was seen first
	lastSign   time.Duration // of the leader before the claim was suspected
	suspects   bool
	led        uint64 // the highest term in which somebody was known to lead
	transfer   fabric.MemberID
	transferAt time.Duration
	heir       fabric.MemberID // to whom a leader was last seen to hand over its office
	heirTill   time.Duration   // it may campaign until then

	// Of the election.
	born      time.Duration
	abstain   time.Duration // until then, after the loop stood still
	rest      time.Duration // until then, after one that was given up
	fruitless int           // campaigns that were seen since somebody led
	started   time.Duration // when the first seal since the last leader was set
	electing  bool          // started is valid
	sealed    bool
	sealedAt  time.Duration
	endorses  endorsement
	endorseAt time.Duration
	open      bool // the endorsement binds
	bound     fabric.MemberID
	boundTill time.Duration
	rival     rival // the best pre-candidate of late
	rivalTill time.Duration
	mute      bool // the own raft's last pre-vote does not count
	excluded  []fabric.MemberID
	nominated endorsement
	said      string // the reason for abstaining that was reported last

	held      []held
	heldBytes int

	shown   section // as published last
	shownAt time.Duration
	// livelyTill: until then the row is published as often as one that others wait
	// for.
	livelyTill time.Duration
	// workedAt is when the own raft last led something: an entry, a snapshot, or
	// a read that it asked a majority about.
	workedAt time.Duration
}

// startWait is how many Patiences a member endorses nobody after its start: the
// longest attempt takes four, and may have begun one later elsewhere.
const startWait = 1<<maxPatienceDoubling + 1

// New returns an arbiter that begins at time now, with mode Off and no members.
// It endorses nobody for five Patiences: whatever an earlier life of this member
// endorsed is over then (E4).
func New(cfg Config, now time.Duration) (*Arbiter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Arbiter{base: cfg, cfg: cfg, now: now, born: now, since: now, shownAt: now, wakeAt: now + cfg.Beat}, nil
}

// ErrTooMany: more members than rows have room for; the arbiter is off.
var ErrTooMany = errors.New("election: too many members")

// mode is the mode in force.
func (a *Arbiter) mode() Mode {
	if a.members.Stock || len(a.members.Voters) == 0 {
		return Off
	}
	return a.want
}

// SetMode switches. Off releases everything that is held at once.
func (a *Arbiter) SetMode(now time.Duration, m Mode) {
	a.begin(now)
	a.want = m
	a.switched()
}

// SetMembers takes the configuration that is in force. On ErrTooMany it takes
// it with Stock set.
func (a *Arbiter) SetMembers(now time.Duration, m Members) (err error) {
	a.begin(now)
	m = Members{slices.Clone(m.Voters), slices.Clone(m.Outgoing), slices.Clone(m.Learners), m.Epoch, m.Stock}
	ids := slices.Concat(m.Voters, m.Outgoing, m.Learners)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > MaxMembers {
		err = fmt.Errorf("%w: %d, at most %d; elections are raft's own", ErrTooMany, len(ids), MaxMembers)
		m.Stock = true
	}
	a.members = m
	was := a.peers
	a.peers = nil
	for _, id := range ids {
		if id == a.cfg.Self {
			continue
		}
		i := slices.IndexFunc(was, func(p *peer) bool { return p.id == id })
		if i >= 0 {
			a.peers = append(a.peers, was[i])
		} else {
			a.peers = append(a.peers, &peer{Watch: suspect.Watch{Limit: a.cfg.SuspectAfter}, id: id, moved: now})
		}
	}
	a.ids = nil
	for _, p := range a.peers {
		if a.votes(p.id) && !m.Stock {
			a.ids = append(a.ids, p.id)
		}
	}
	a.switched()
	return err
}

// switched begins anew what depends on the mode.
func (a *Arbiter) switched() {
	if a.mode() == Off {
		a.suspects, a.sealed, a.open, a.electing, a.bound = false, false, false, false, 0
		a.excluded = nil
	}
	if a.mode() != On {
		a.releaseAll()
	}
	a.step()
}

func (a *Arbiter) peer(id fabric.MemberID) *peer {
	for _, p := range a.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// begin starts an input. A loop that stood still had no chance to hear
// anybody: it suspects nobody for that. Rows that waited for it look new, and
// the words in them are old: already after half a Patience its own word for a
// nominee is over, and it gives no other one for a while.
func (a *Arbiter) begin(now time.Duration) {
	now = max(now, a.now)
	late := now - a.wakeAt
	if late > a.cfg.Patience/2 {
		a.abstain = max(a.abstain, now+a.cfg.Patience)
		a.takeBack()
		if a.sealed {
			a.sealedAt = now
		}
	}
	if late > a.cfg.SuspectAfter/2 {
		for _, p := range a.peers {
			p.Last, p.moved = now, now
			p.insistence.at = [len(p.insistence.at)]time.Duration{}
			p.insistence.backAt = max(now, 1)
		}
		a.since = now
		if a.mode() != Off {
			a.event(Event{Kind: EventLate, Took: late})
		}
	}
	if late > min(a.cfg.SuspectAfter, a.cfg.Patience)/2 {
		a.wakeAt = now
	}
	a.now = now
}

func (a *Arbiter) event(e Event) {
	e.At = a.now
	if len(a.out.Events) == maxEvents {
		a.out.Events = append(a.out.Events[:0], a.out.Events[1:]...)
	}
	a.out.Events = append(a.out.Events, e)
}

// Take returns what is to be done and forgets it.
func (a *Arbiter) Take() Output {
	out := a.out
	a.out = Output{}
	return out
}

// Deadline is when Advance has to be called at the latest.
func (a *Arbiter) Deadline() time.Duration { return a.wakeAt }

// Advance lets time pass.
func (a *Arbiter) Advance(now time.Duration) {
	a.begin(now)
	a.step()
}

// Heard takes a sign of life that is neither a row nor a message.
func (a *Arbiter) Heard(now time.Duration, id fabric.MemberID) {
	a.begin(now)
	if p := a.peer(id); p != nil {
		a.alive(p)
	}
	a.stepIfDue()
}

// Waits: a message of this peer waits for the own raft, and whatever it says next
// behind that. It is not silent.
func (a *Arbiter) Waits(now time.Duration, id fabric.MemberID) {
	a.begin(now)
	p := a.peer(id)
	if p == nil {
		return
	}
	if !p.Down {
		p.Last, p.moved = now, now
	}
	if a.now >= p.insistence.backAt+a.cfg.Rest { // once in a Rest, as its peer may see to it that it waits
		a.returns(p)
	}
}

// Patience is the one in force.
func (a *Arbiter) Patience() time.Duration { return a.cfg.Patience }

// Down takes a port's word that a peer is gone: it is suspected at once, until
// Up, or until a sign of life that cannot have been under way since: one that
// is Patience later.
func (a *Arbiter) Down(now time.Duration, id fabric.MemberID) {
	a.begin(now)
	if p := a.peer(id); p != nil && !p.Down {
		p.Down, p.DownAt = true, now
		p.seen = false // another life of it may come back
	}
	a.step()
}

// Up takes a port's word that a peer can be reached (again).
func (a *Arbiter) Up(now time.Duration, id fabric.MemberID) {
	a.begin(now)
	if p := a.peer(id); p != nil {
		p.Down = false
		a.alive(p)
	}
	a.step()
}

func (a *Arbiter) alive(p *peer) {
	if p.Down && a.now < p.DownAt+a.cfg.Patience {
		return
	}
	was := p.suspected()
	if !p.Heard || a.now-p.Last >= a.cfg.Rest/2 {
		a.returns(p)
	}
	if silence := a.now - p.Last; p.alive(a.now, &a.cfg) && a.mode() != Off {
		a.event(Event{Kind: EventFalseSuspicion, Member: p.id, Took: silence})
	}
	if was {
		p.trips.since = 0
		a.wakeAt = a.now // have stepIfDue look again
	}
}

// ErrRow: a row that no honest member publishes. It is forgotten.
var ErrRow = errors.New("election: row refused")

// Row takes a peer's row. Rows of members that are not in the configuration,
// and those without this package's section, count as signs of life only.
func (a *Arbiter) Row(now time.Duration, row *fabric.Row) error {
	a.begin(now)
	p := a.peer(row.Owner)
	if p == nil {
		return nil
	}
	if row.Incarnation < p.incarnation || row.Incarnation == p.incarnation && row.Version <= p.version {
		return nil
	}
	raw, ok := fabric.FindSection(row.Sections, fabric.SectionArbiter)
	if !ok {
		a.alive(p)
		if row.Incarnation != p.incarnation {
			a.reborn(p)
		}
		p.incarnation, p.version, p.seen = row.Incarnation, row.Version, false
		a.step()
		return nil
	}
	s := &p.next
	err := s.parse(&raw)
	if err == nil && p.seen && row.Incarnation == p.incarnation {
		err = s.follows(&p.row)
	}
	if err != nil {
		return fmt.Errorf("%w: row %d of %s: %w", ErrRow, row.Version, row.Owner, err)
	}
	a.alive(p)
	idle := p.seen && row.Incarnation == p.incarnation && !s.news(&p.row) && !a.busy() && len(a.held) == 0
	a.takeRow(p, row)
	if idle { // the row of acks, many times in a millisecond
		a.stepIfDue()
	} else {
		a.step()
	}
	return nil
}

// takeRow makes p.next the peer's row.
func (a *Arbiter) takeRow(p *peer, row *fabric.Row) {
	s := &p.next
	if row.Incarnation != p.incarnation {
		a.reborn(p)
		if a.fruitless < maxFruitless {
			a.rest = 0 // who gave up without it may succeed with it
		}
		if a.open && a.endorses.nominee == p.id && p.seen {
			a.open = false // it abstains for longer than this attempt lasts
			a.fail(p.id, a.endorses.attempt, "restarted")
		}
	}
	if row.Incarnation != p.incarnation || !p.seen || s.progress != p.row.progress {
		p.moved = a.now
	}
	if s.endorses.attempt != 0 && s.endorses != p.history[0] {
		copy(p.history[1:], p.history[:])
		p.history[0], p.endorsed = s.endorses, a.now
	}
	p.incarnation, p.version, p.seen = row.Incarnation, row.Version, true
	p.row, p.next, s = p.next, p.row, &p.row
	p.relimit(a.now, &a.cfg)
	a.follow(p)
	if s.claim.member == p.id && s.claim.kind == claimCampaign {
		a.campaigns(p, s.claim.term)
	}
	if s.claim == a.claim && s.claim.kind == claimLead && s.claim.member == p.id && s.transfer != 0 {
		a.heir, a.heirTill = s.transfer, a.now+a.cfg.Rest
	}
	if s.claim.above(a.claim) && s.is(flagObserves|flagActs) && a.votes(p.id) && a.mode() != Off && a.believes(p.id, s.claim) {
		a.claimed(s.claim)
	}
}

// believes reports whether a peer's word on a claim is taken for sure. While a
// majority hears the leader it is not, but from the leader, and of whom that has told to
// campaign: who does campaign shows it to rafts, and each says so when its own follows. Nor is it by a member that does not know its own raft's term, as any may be far off.
func (a *Arbiter) believes(from fabric.MemberID, c claim) bool {
	switch {
	case a.term == 0:
		return false
	case c.kind == claimCampaign && from == c.member && a.unwanted(from, c.term):
		return false
	case c.term > a.term+MaxTermLift:
		a.event(Event{Kind: EventRefusedTerm, Member: from, Term: c.term})
		return false
	}
	return a.claim.kind != claimLead || from == a.claim.member || c.member == a.transferee() || !a.works()
}

// votes reports whether id is a voter of either half.
func (a *Arbiter) votes(id fabric.MemberID) bool {
	return slices.Contains(a.members.Voters, id) || slices.Contains(a.members.Outgoing, id)
}

// majority reports whether f holds for a majority of each half.
func (a *Arbiter) majority(f func(fabric.MemberID) bool) bool {
	for _, half := range [...][]fabric.MemberID{a.members.Voters, a.members.Outgoing} {
		n := 0
		for _, id := range half {
			if f(id) {
				n++
			}
		}
		if len(half) > 0 && n <= len(half)/2 {
			return false
		}
	}
	return len(a.members.Voters) > 0
}

// Position takes the id of the last entry and the term of the own raft, as
// somebody says who sees its storage, best at the start. While raft leads, or
// has appends that it did not answer, more may follow. term 0: unknown.
func (a *Arbiter) Position(now time.Duration, term, lastTerm, lastIndex uint64) {
	a.begin(now)
	if a.role != roleLeader {
		a.pos.set(entry{lastTerm, lastIndex})
	}
	a.raise(term)
	a.step()
}

// AppendSection appends this package's row section, with its header.
func (a *Arbiter) AppendSection(dst []byte) []byte {
	s := a.section() // whatever is new in it may go to one member only: it stays news
	return s.append(dst)
}

// show makes the section, and reports whether it has news.
func (a *Arbiter) show() (news bool) {
	was := a.shown
	a.shown = a.section()
	return a.shown.news(&was)
}

func (a *Arbiter) section() (s section) {
	s = section{
		claim: a.claim, endorses: a.endorses, progress: a.progress, transfer: a.transfer,
		lower: a.pos.lower, upper: a.pos.high(), pace: a.cfg.Patience, ids: a.ids,
	}
	set := func(on bool, flag uint32) {
		if on {
			s.flags |= flag
		}
	}
	set(a.suspects, flagSuspects)
	set(a.sealed, flagSealed)
	set(a.unable() == "", flagKnown)
	set(a.tied(), flagBound)
	set(a.mode() == Observe, flagObserves)
	set(a.mode() == On, flagActs)
	set(a.idle(), flagIdle)
	for i, id := range a.ids {
		if a.heard(id) {
			s.heard |= 1 << i
		}
	}
	return s
}

// messageSize is what a message counts in MaxHeldBytes.
func messageSize(m *raftpb.Message) (n int) {
	for _, e := range m.GetEntries() {
		n += len(e.GetData())
	}
	return n + len(m.GetSnapshot().GetData()) + len(m.GetContext())
}
