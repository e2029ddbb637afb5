package ordered

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// Instant is when an input comes: by the member's own monotonic clock, for what
// takes time, and by the fabric's, for stamps.
type Instant struct {
	Mono  time.Duration
	Clock fabric.Time
}

// Endpoint is a Core and what takes time: who is suspected, who proposes views
// and when, how often the row is published, what is sent again. It is a
// deterministic state machine: every input comes with its time.
//
// # What a caller owes
//
//  1. All calls are serialised, and their Mono never falls.
//  2. After each input, or several, Take is called, and acted on in the order of
//     Actions' fields; and again at Deadline.
//  3. Save is written to stable storage, one after the other; then Saved is called.
//  4. Actions.Publish: the row, with AppendSection's section, is published to all
//     peers promptly, its version one higher than before.
//  5. Sends are given to the port in their order, on one lane. For each destination
//     that the port refuses, or whose ticket is lost, Lost is called.
type Endpoint struct {
	cfg      EndpointConfig
	core     *Core
	detector *barrier.Detector
	met      uint64 // the core's meetings that the detector and peers know
	now      Instant
	deadline time.Duration

	peers     []*contact
	up        map[fabric.MemberID]bool // as the port says; of strangers too, who may become members
	relayed   map[fabric.MemberID]bool // likewise, by way of others
	turns     turns
	suspects  []fabric.MemberID
	hears     []fabric.MemberID
	random    *rand.Rand
	active    time.Duration // when an agreed frame was last sent or came
	beat      time.Duration // in force
	published time.Duration
	faults    []Fault
	lookedAt  time.Duration // when conduct was looked at last
	retryAt   time.Duration // 0: nothing waits
	changes   uint64        // of the detector, when it was asked last
	stirs     uint64        // of the barrier, likewise

	strangerAt time.Duration // when a stranger may be told something again
	askAt      time.Duration // when it is asked at the latest
}

// contact is what an endpoint knows of a peer beside what core and detector do.
type contact struct {
	id          fabric.MemberID
	incarnation uint64 // of its newest row
	version     uint64
	conduct     conduct
	waits       bool          // a frame of it came since the row was published last
	behind      time.Duration // since when its row is of an older view
	isBehind    bool
	again       []retry
}

// retry is a frame that did not reach the peer.
type retry struct{ send Send }

// Actions is what is to be done, in the order of the fields.
type Actions struct {
	Save    []byte
	Events  []Event
	Sends   []Send
	Publish bool
	// Faults name members that broke the rules, and are suspected for it.
	Faults []Fault
}

// ErrAhead: a stamp beyond what the own clock allows.
var ErrAhead = errors.New("ordered: stamp is ahead of this member's clock")

// NewEndpoint returns the endpoint of a process that has just started; see
// barrier.New for saved.
func NewEndpoint(cfg EndpointConfig, saved []byte, now Instant) (*Endpoint, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	core, err := New(cfg.Settings, saved)
	if err != nil {
		return nil, err
	}
	d, err := barrier.NewDetector(cfg.Detector, cfg.Self, core.Barrier().Config(), now.Mono)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{cfg: cfg, core: core, detector: d, now: now, beat: cfg.Beat, active: now.Mono, published: now.Mono, lookedAt: now.Mono,
		up: map[fabric.MemberID]bool{}, relayed: map[fabric.MemberID]bool{},
		random: rand.New(rand.NewPCG(uint64(cfg.Self), cfg.Incarnation))}
	e.configure()
	core.Barrier().SetBeat(e.beat)
	e.turns.since, e.turns.moved = now.Mono, now.Mono
	e.schedule()
	return e, nil
}

// Core is the core below. Only its questions may be asked: inputs go through
// the endpoint.
func (e *Endpoint) Core() *Core { return e.core }

// configure watches the peers that the core has now.
func (e *Endpoint) configure() {
	b := e.core.Barrier()
	if b.Meetings() == e.met {
		return
	}
	was := e.peers
	e.peers, e.met = nil, b.Meetings()
	e.detector.SetMembers(e.now.Mono, b.Config(), b.Peers()...)
	for _, id := range b.Peers() {
		if i := slices.IndexFunc(was, func(p *contact) bool { return p.id == id }); i >= 0 {
			e.peers = append(e.peers, was[i])
		} else {
			e.peers = append(e.peers, &contact{id: id, conduct: conduct{moved: e.now.Mono}})
		}
	}
}

func (e *Endpoint) peer(id fabric.MemberID) *contact {
	for _, p := range e.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (e *Endpoint) begin(now Instant) {
	now.Mono = max(now.Mono, e.now.Mono)
	e.now = now
}

// Send sends an agreed or safe frame to all members of the view; see Core.Send.
func (e *Endpoint) Send(now Instant, class fabric.Class, body []byte) (seq uint64, err error) {
	e.begin(now)
	seq, err = e.core.Send(now.Clock.Nanos, class, body)
	if err == nil {
		e.active = now.Mono
	}
	return seq, err
}

// Frame takes a frame of class agreed or safe from a peer; direct: it came by no
// relay. An error means that it broke the rules, for which it is suspected.
func (e *Endpoint) Frame(now Instant, from fabric.MemberID, f *fabric.Frame, direct bool) error {
	e.begin(now)
	e.detector.Heard(now.Mono, from, direct)
	e.active = now.Mono
	if p := e.peer(from); p != nil {
		p.waits = true
	}
	err := e.ahead("a frame", f.Stamp)
	if err == nil {
		err = e.core.Frame(from, f)
	}
	e.blame(from, err)
	return err
}

// Row takes a peer's row. direct: it came from the peer itself, not by a relay.
// newer: it is newer than all before it. Rows of strangers are nobody's.
func (e *Endpoint) Row(now Instant, row *fabric.Row, direct bool) (newer bool, err error) {
	e.begin(now)
	e.configure()
	p := e.peer(row.Owner)
	if p == nil {
		e.stranger(row)
		return false, nil
	}
	if row.Incarnation < p.incarnation || row.Incarnation == p.incarnation && row.Version < p.version {
		return false, nil
	}
	if row.Incarnation == p.incarnation && row.Version == p.version {
		if direct { // a relay was faster
			e.detector.Heard(now.Mono, row.Owner, true)
		}
		return false, nil
	}
	p.incarnation, p.version = row.Incarnation, row.Version
	e.detector.Heard(now.Mono, row.Owner, direct)
	raw, ok := fabric.FindSection(row.Sections, fabric.SectionBarrier)
	if !ok {
		return true, nil
	}
	high, err := barrier.High(&raw)
	if err == nil {
		err = e.ahead("a row", high)
	}
	if err == nil {
		err = e.core.Row(row.Owner, row.Incarnation, &raw)
	}
	e.detector.Beats(row.Owner, e.core.Barrier().PeerBeat(row.Owner))
	e.blame(row.Owner, err)
	return true, err
}

// stranger takes the row of somebody that is no member: one who was may have been
// unreachable when it was left out, and is to know that. Strangers are told
// seldom.
func (e *Endpoint) stranger(row *fabric.Row) {
	raw, ok := fabric.FindSection(row.Sections, fabric.SectionBarrier)
	if number, known := barrier.ViewNumber(&raw); ok && known && number < e.core.id.Number && e.reaches(row.Owner) && e.now.Mono >= e.strangerAt {
		e.strangerAt = e.now.Mono + e.cfg.IdleBeat
		e.core.Tell(row.Owner)
	}
}

// Blame takes a caller's word that a peer broke the rules; err says how. It
// returns err.
func (e *Endpoint) Blame(now Instant, id fabric.MemberID, err error) error {
	e.begin(now)
	e.blame(id, err)
	return err
}

// ahead refuses stamps that a clock within its error cannot have given.
func (e *Endpoint) ahead(what string, s fabric.Stamp) error {
	most := 2 * e.now.Clock.Error
	if e.now.Clock.Logical {
		most = e.cfg.MaxAhead
	}
	if by := time.Duration(s.Time - e.now.Clock.Nanos); s.Time > e.now.Clock.Nanos && (by > most || by < 0) {
		return fmt.Errorf("%w: %s by %v, at most %v: set that member's clock", ErrAhead, what, by, most)
	}
	return nil
}

// Link takes a port's word that a peer can be reached, or no longer.
func (e *Endpoint) Link(now Instant, peer fabric.MemberID, up bool) {
	e.begin(now)
	e.up[peer] = up
	if up {
		e.detector.Up(now.Mono, peer)
		e.retryAt = now.Mono
	} else {
		e.detector.Down(now.Mono, peer)
	}
}

// Relay takes a port's word that a peer can be reached by way of others, or no
// longer. That tells nothing of the peer itself.
func (e *Endpoint) Relay(now Instant, peer fabric.MemberID, up bool) {
	e.begin(now)
	e.relayed[peer] = up
	if up {
		e.retryAt = now.Mono
	}
}

func (e *Endpoint) reaches(id fabric.MemberID) bool { return e.up[id] || e.relayed[id] }

// Lost takes a send that did not reach a destination: the port refused it, or its
// ticket was lost. It is sent again while that is of use.
func (e *Endpoint) Lost(now Instant, to fabric.MemberID, s Send) {
	e.begin(now)
	if p := e.peer(to); p != nil {
		p.again = append(p.again, retry{s})
		if e.retryAt == 0 {
			e.retryAt = now.Mono + e.cfg.RetryAfter
			e.deadline = min(e.deadline, e.retryAt)
		}
	}
}

// Heard takes a frame of another class as a sign of life.
func (e *Endpoint) Heard(now Instant, from fabric.MemberID) {
	e.begin(now)
	e.detector.Heard(now.Mono, from, true)
}

// Reserve stamps n frames of other classes; see barrier.Core.Reserve.
func (e *Endpoint) Reserve(now Instant, n int) fabric.Stamp {
	e.begin(now)
	return e.core.Barrier().Reserve(now.Clock.Nanos, n)
}

// See takes the stamp of a peer's frame of another class. One that is too far ahead
// is an error, and changes nothing.
func (e *Endpoint) See(now Instant, s fabric.Stamp) error {
	e.begin(now)
	err := e.ahead("a frame", s)
	if err == nil {
		e.core.Barrier().See(s)
	}
	return err
}

// Published: the row has just been published for another reason.
func (e *Endpoint) Published(now Instant) {
	e.begin(now)
	e.published = e.now.Mono
}

// Waits: what a peer says waits for this member to take it. It is not silent.
func (e *Endpoint) Waits(now Instant, from fabric.MemberID) {
	e.begin(now)
	e.detector.Waits(now.Mono, from)
}

// Saved says that Actions.Save is on stable storage.
func (e *Endpoint) Saved(now Instant) {
	e.begin(now)
	e.core.Saved()
}

// SetConfig takes the configuration that the member has applied; see
// barrier.Core.SetConfig.
func (e *Endpoint) SetConfig(now Instant, cfg barrier.Config) error {
	e.begin(now)
	return e.core.SetConfig(cfg)
}

// SetFull says whether there is no room for further deliveries; see Core.SetFull.
func (e *Endpoint) SetFull(now Instant, full bool) {
	e.begin(now)
	e.core.SetFull(full)
	e.askAt = now.Mono
}

// AppendSection appends the row's section; see barrier.Core.AppendSection.
func (e *Endpoint) AppendSection(dst []byte) []byte { return e.core.Barrier().AppendSection(dst) }

// Deadline is when Take is to be called at the latest.
func (e *Endpoint) Deadline() time.Duration { return e.deadline }

// Take lets time pass until now, and returns what is to be done since it was
// called last.
func (e *Endpoint) Take(now Instant) Actions {
	e.begin(now)
	e.configure()
	if now.Mono >= e.detector.Deadline() {
		e.detector.Advance(now.Mono)
	}
	e.look()
	e.suspect()
	e.propose()
	e.resend()
	e.pace()
	e.tell()
	o := e.core.Take()
	for _, f := range o.Faults {
		e.blame(f.Member, f.Err)
	}
	a := Actions{Save: o.Save, Events: o.Events, Sends: o.Sends, Publish: o.Publish || now.Mono >= e.published+e.beat, Faults: e.faults}
	e.faults = nil
	if a.Publish {
		e.published = now.Mono
	}
	e.schedule()
	if len(o.Faults) > 0 {
		e.deadline = now.Mono // to say that their senders are suspected
	}
	return a
}

// suspect says to the core whom this member suspects and hears, when that
// changes.
func (e *Endpoint) suspect() {
	b := e.core.Barrier()
	if e.detector.Changes() == e.changes && b.Stirs() == e.stirs && e.now.Mono < e.askAt {
		return
	}
	e.changes, e.stirs, e.askAt = e.detector.Changes(), b.Stirs(), e.now.Mono+e.cfg.Beat
	suspects := e.detector.Suspects(b.HeardBy)
	if _, member := b.View(); e.core.full && !member {
		suspects = []fabric.MemberID{e.cfg.Self} // it is not to join while it could take nothing
	}
	if !e.alone(suspects) {
		for _, p := range e.peers {
			if p.conduct.until > e.now.Mono && !slices.Contains(suspects, p.id) {
				suspects = append(suspects, p.id)
			}
		}
		slices.Sort(suspects)
	}
	if !slices.Equal(suspects, e.suspects) {
		e.suspects, e.active = suspects, e.now.Mono
		e.core.SetSuspects(suspects)
	}
	if hears := e.detector.Hears(); !slices.Equal(hears, e.hears) {
		e.hears = hears
		e.core.SetHears(hears)
	}
}

// alone reports whether this member hears no majority.
func (e *Endpoint) alone(suspects []fabric.MemberID) bool {
	return slices.Contains(suspects, e.cfg.Self)
}

// resend sends again what did not arrive, to those that can be reached.
func (e *Endpoint) resend() {
	if e.retryAt == 0 || e.now.Mono < e.retryAt {
		return
	}
	e.retryAt = 0
	for _, p := range e.peers {
		again := p.again
		p.again = nil
		for _, r := range again {
			if !e.reaches(p.id) {
				if e.core.Needs(p.id, &r.send) {
					p.again = append(p.again, r)
				}
				continue
			}
			e.core.Lost(p.id, &r.send)
		}
	}
}

// tell sends the view to members that have been behind for longer than the rows
// of others need to say it: one after the other, the first member of the view
// first.
func (e *Endpoint) tell() {
	v, member := e.core.Barrier().View()
	rank := slices.IndexFunc(v.Members, func(l barrier.Life) bool { return l.Member == e.cfg.Self })
	if !member || rank < 0 {
		rank = len(v.Members)
	}
	for _, p := range e.peers {
		switch {
		case !e.core.Barrier().Behind(p.id):
			p.isBehind = false
		case !p.isBehind:
			p.isBehind, p.behind = true, e.now.Mono
		case e.now.Mono-p.behind >= e.cfg.Beat*time.Duration(1+rank) && e.reaches(p.id):
			p.behind = e.now.Mono
			e.core.Tell(p.id)
		}
	}
}

// pace decides how often the row is published, and promises anew for it.
func (e *Endpoint) pace() {
	beat := e.cfg.IdleBeat
	if e.now.Mono-e.active < e.cfg.IdleAfter {
		beat = e.cfg.Beat
	}
	if beat != e.beat {
		e.beat = beat
		e.core.Barrier().SetBeat(beat)
		e.published = e.now.Mono - beat // others are to know it before they miss a beat
	}
	if e.now.Mono >= e.published+e.beat {
		e.core.Pledge(e.now.Clock.Nanos)
	}
}

// schedule computes when Take is due.
func (e *Endpoint) schedule() {
	at := min(e.published+e.beat, e.detector.Deadline())
	if e.retryAt != 0 {
		at = min(at, e.retryAt)
	}
	if e.turns.at != 0 {
		at = min(at, e.turns.at)
	}
	for _, p := range e.peers {
		if p.conduct.until > e.now.Mono {
			at = min(at, p.conduct.until)
		}
	}
	if look := e.lookedAt + e.lookEvery(); look < at && e.core.Barrier().Held() { // else there is nothing to look at
		at = look
	}
	e.deadline = max(at, e.now.Mono+time.Microsecond)
}
