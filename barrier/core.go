package barrier

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Settings of a Core.
type Settings struct {
	// Self is this member, Incarnation its process's, never used again.
	Self        fabric.MemberID
	Incarnation uint64
	// Config is the configuration before the first view; it counts only without
	// a saved state, and has to be the same at all members.
	Config Config
	// Fresh: this member never ran before. A member that did, and comes without
	// its saved state, may have voted: it does not vote until a view has it.
	Fresh bool
}

// Output is what is to be done, in the order of the fields.
type Output struct {
	// Save is to be written to stable storage, whole; then Saved is called. Nil:
	// nothing new.
	Save []byte
	// Installed lists what became of views, in order.
	Installed []Installed
	// Publish: the row has news that others wait for.
	Publish bool
}

// Installed says that a view is in force.
type Installed struct {
	View *View
	// Stayed: this life is a member of this view and of the one before. The
	// frames up to View.Cuts are delivered, in their order, before anything of
	// this view; what is behind them is not.
	Stayed bool
	// Member: this life is a member of the view. With Stayed false it has begun
	// here: what was not delivered of former views is lost to it.
	Member bool
}

// Core is one member's. Not for concurrent use; see the package's comment for
// what its caller owes.
type Core struct {
	self   Life
	blind  bool   // may have voted in a life that it knows nothing of
	config Config // as the member has it
	peers  []*peer
	others []fabric.MemberID // the peers
	ids    []fabric.MemberID // of the view's configuration
	view   *View
	id     ViewID
	at     int // this life's place in the view, -1: it has none

	// Of the stream and the table; lines are those of the view's members.
	clock   fabric.Stamp // no stamp that was seen or given is above
	sent    uint64
	promise fabric.Stamp
	wedged  bool
	lines   []line
	seats   []*peer // the members of the view, nil for this one
	barrier fabric.Stamp

	// Of the change to the next view.
	votes    votes
	durable  votes // what rows may show
	saving   *votes
	unsaved  bool
	out      set // whom the promised ballot leaves out
	banned   set // whom any promised ballot of this view left out
	limit    []uint64
	mine     bool // the promised ballot is of this process
	next     Config
	suspects []fabric.MemberID
	hears    []fabric.MemberID
	beat     uint32
	moves    uint64              // of what belongs to the change, see Moves
	stirs    uint64              // of what Wants depends on, see Stirs
	meetings uint64              // calls of meet
	passes   []Pass              // what this member passes on, as of passedAt
	passedAt uint64              // stirs when that was computed
	patchy   bool                // likewise, see Patchy
	ways     [][]fabric.MemberID // see Ways, by place, of those in waysOf, as of waysAt
	waysOf   set
	waysAt   uint64
	did      Output
	shown    section // as of the last Take
	made     section // scratch
}

// line is what is known of a member's stream.
type line struct {
	received uint64       // frames that are here, without a gap
	last     fabric.Stamp // of the last of them
	bar      fabric.Stamp // everything of it that is stamped at or before is here
}

// votes are those of an acceptor for the view after the one that they name.
type votes struct {
	view     ViewID
	promised ballot
	accepted ballot
	value    *View
}

// peer is what is known of another member.
type peer struct {
	id    fabric.MemberID
	life  Life
	row   *section // nil: none yet
	spare *section // whose memory the next row takes, or nil
	value *View    // row's, parsed; nil if it has none, or is of another view
	moves uint64   // see PeerMoves
}

// Errors of rows and frames: their sender broke the rules of this package.
var (
	// ErrUnknown: the sender is in no configuration that is known here.
	ErrUnknown = errors.New("barrier: unknown member")
	// ErrRow: a row that cannot follow the one before it.
	ErrRow = errors.New("barrier: row does not follow the one before")
	// ErrStamp: an agreed frame that breaks a promise.
	ErrStamp = errors.New("barrier: stamp breaks a promise")
	// ErrNoMember: this life is no member of a view, and cannot send.
	ErrNoMember = errors.New("barrier: not a member of a view")
	// ErrWedged: the view is about to change; send in the next one.
	ErrWedged = errors.New("barrier: the view is changing")
)

// New returns the core of a process that has just started: saved is the state
// that was saved last, nil if there is none.
func New(s Settings, saved []byte) (*Core, error) {
	if s.Self == 0 || s.Incarnation == 0 {
		return nil, fmt.Errorf("%w: self %v, incarnation %x: neither is 0", ErrConfig, s.Self, s.Incarnation)
	}
	if err := s.Config.validate(); err != nil {
		return nil, err
	}
	c := &Core{self: Life{s.Self, s.Incarnation, 1}, blind: !s.Fresh, config: s.Config.sorted()}
	v := &View{Config: c.config}
	var was votes
	if saved != nil {
		var err error
		if v, was, c.blind, err = parseState(saved); err != nil {
			return nil, err
		}
	}
	c.enter(v, false)
	if saved != nil {
		was.view = c.id
		c.votes, c.durable = was, was
	}
	c.did = Output{}
	c.step()
	return c, nil
}

// Self is this life.
func (c *Core) Self() Life { return c.self }

// View is the newest view that is known, and whether this life belongs to it.
// It is not to be changed.
func (c *Core) View() (v *View, member bool) { return c.view, c.at >= 0 }

// ViewID is that view's name.
func (c *Core) ViewID() ViewID { return c.id }

// Wedged reports whether the view is about to change: nothing is stamped until
// the next one.
func (c *Core) Wedged() bool { return c.wedged }

// Take returns what is to be done since it was called last.
func (c *Core) Take() Output {
	o := c.did
	c.did = Output{}
	now := &c.made
	c.fill(now)
	// What own frames are stamped they say themselves.
	promises := c.at >= 0 && now.promise != c.shown.promise && c.lines[c.at].last.Before(now.promise)
	o.Publish = o.Publish || promises || now.news(&c.shown)
	c.shown, c.made = c.made, c.shown
	return o
}

// SetConfig takes the configuration that the member has applied. An older one
// than that of the view changes nothing.
func (c *Core) SetConfig(cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if cfg.Epoch > c.config.Epoch {
		c.config = cfg.sorted()
		c.meet()
		c.step()
	}
	return nil
}

// SetSuspects takes whom this member suspects, by its own observation.
func (c *Core) SetSuspects(ids []fabric.MemberID) {
	c.suspects = slices.Clone(ids)
	c.stirs++
	c.step()
}

// SetBeat says how often this member's row will be published at least.
func (c *Core) SetBeat(every time.Duration) {
	c.beat = uint32(min(every/time.Microsecond, math.MaxUint32))
}

// SetHears takes whom this member hears directly: relays are made of it.
func (c *Core) SetHears(ids []fabric.MemberID) {
	c.hears = slices.Clone(ids)
	c.stirs++
}

// mask is the set of those ids that are in the view's configuration.
func (c *Core) mask(ids []fabric.MemberID) (s set) {
	for _, id := range ids {
		if i := c.index(id); i >= 0 {
			s |= 1 << i
		}
	}
	return s
}

// Row takes a peer's row; raw is its section, which is copied.
func (c *Core) Row(from fabric.MemberID, incarnation uint64, raw *fabric.Section) error {
	p := c.peer(from)
	if p == nil {
		return fmt.Errorf("%w: %v", ErrUnknown, from)
	}
	s := p.spare
	if s == nil {
		s = &section{}
		p.spare = s
	}
	if err := s.parse(raw); err != nil {
		return err
	}
	life := Life{from, incarnation, s.generation}
	if p.row != nil && p.life.newer(life) {
		return nil
	}
	if p.row != nil && p.life == life {
		if err := s.follows(p.row); err != nil {
			return fmt.Errorf("%w: %v: %v", ErrRow, life, err)
		}
	}
	if p.row == nil || p.life != life || s.moved(p.row) {
		p.moves++
	}
	if p.row == nil || s.voted(p.row) {
		c.moves++
		c.stirs++
	} else if s.suspects != p.row.suspects || s.hears != p.row.hears {
		c.stirs++
	}
	p.life, p.row, p.spare, p.value = life, s, p.row, nil
	if err := c.read(p); err != nil {
		p.row = nil
		c.stirs++
		return err
	}
	c.step()
	return nil
}

// Learn takes a view that was decided, as a peer says that it knows it. An error
// means that it cannot be: two values for one number, or cuts of another view.
func (c *Core) Learn(v *View) error {
	if err := v.validate(); err != nil {
		return err
	}
	id := v.ID()
	switch {
	case v.Number == c.id.Number && id != c.id:
		return fmt.Errorf("%w: %v is said to be decided, %v was", ErrView, id, c.id)
	case v.Number <= c.id.Number:
		return nil
	case c.id.Number > 0 && v.Number == c.id.Number+1 && (v.Former != c.id.Hash || len(v.Cuts) != len(c.view.Members)):
		return fmt.Errorf("%w: %v does not follow %v: former view %x, %d cuts for %d members", ErrView, id, c.id, v.Former, len(v.Cuts), len(c.view.Members))
	}
	c.adopt(v)
	c.step()
	return nil
}

// read parses a row's value, once its view is ours.
func (c *Core) read(p *peer) (err error) {
	if p.row == nil || p.row.view != c.id {
		return nil
	}
	if n := len(p.row.received); n > 0 && n != len(c.view.Members) || len(p.row.cut) > 0 && len(p.row.cut) != len(c.view.Members) {
		return fmt.Errorf("%w: %v: lists of %d and %d in a view of %d", ErrRow, p.life, n, len(p.row.cut), len(c.view.Members))
	}
	if p.row.is(flagMember) != c.view.has(p.life) {
		return fmt.Errorf("%w: %v says of itself that it is a member of %v: %v", ErrRow, p.life, c.id, p.row.is(flagMember))
	}
	if p.row.is(flagMember) != (len(p.row.received) > 0) {
		return fmt.Errorf("%w: %v: a member's row without what it received", ErrRow, p.life)
	}
	if p.value == nil && p.row.is(flagValue) {
		p.value, err = parseValue(p.row.value, c.view)
	}
	return err
}

func (c *Core) peer(id fabric.MemberID) *peer {
	for _, p := range c.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// meet makes room for all members of the view's and the own configuration.
func (c *Core) meet() {
	was := c.peers
	c.peers, c.others = nil, nil
	ids := slices.Concat(c.ids, c.config.ids())
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id == c.self.Member {
			continue
		}
		if i := slices.IndexFunc(was, func(p *peer) bool { return p.id == id }); i >= 0 {
			c.peers = append(c.peers, was[i])
		} else {
			c.peers = append(c.peers, &peer{id: id})
		}
		c.others = append(c.others, id)
	}
	c.seats = make([]*peer, len(c.view.Members))
	for i, l := range c.view.Members {
		c.seats[i] = c.peer(l.Member)
	}
	c.stirs++
	c.meetings++
}

// seat is the newest row of the i-th member of the view, if it is of this life and
// this view; nil otherwise.
func (c *Core) seat(i int) *section {
	if p := c.seats[i]; p != nil && p.row != nil && p.life == c.view.Members[i] && p.row.view == c.id {
		return p.row
	}
	return nil
}

// enter begins a view. stays: as a member of the one before.
func (c *Core) enter(v *View, stays bool) {
	former := c.view
	if former != nil && (v.Number != c.id.Number+1 || v.Former != c.id.Hash) {
		former = nil
	}
	c.view, c.id, c.ids = v, v.ID(), v.Config.ids()
	c.at = -1
	if v.has(c.self) {
		c.at, _ = v.member(c.self.Member)
	}
	if v.Config.Epoch > c.config.Epoch {
		c.config = v.Config
	}
	c.meet()
	c.clock = later(c.clock, v.Floor)
	if !stays {
		c.sent = 0
	}
	c.lines = make([]line, len(v.Members))
	for i, l := range v.Members {
		c.lines[i] = line{last: v.Floor, bar: v.Floor}
		if former != nil && former.has(l) {
			k, _ := former.member(l.Member)
			c.lines[i].received = v.Cuts[k]
		}
	}
	c.promise, c.barrier, c.wedged = c.clock, v.Floor, false
	c.votes = votes{view: c.id}
	c.out, c.banned, c.limit, c.mine = 0, 0, nil, false
	for _, p := range c.peers {
		p.value = nil
		if c.read(p) != nil {
			p.row = nil
		}
	}
	c.did.Publish = true
}

// adopt takes a view that was decided. A life that it leaves out is over, and so
// is one that missed a view.
func (c *Core) adopt(v *View) {
	was := c.at >= 0
	stays := was && v.Number == c.id.Number+1 && v.Former == c.id.Hash && v.has(c.self) && c.holds(v.Cuts)
	if was && !stays || v.has(c.self) && v.Number != c.id.Number+1 {
		c.self.Generation++
	}
	c.enter(v, stays)
	if c.at >= 0 {
		c.blind = false
	}
	c.unsaved = true
	c.did.Installed = append(c.did.Installed, Installed{View: v, Stayed: stays, Member: c.at >= 0})
}

// holds reports whether all frames up to the cuts are here.
func (c *Core) holds(cuts []uint64) bool {
	for i := range c.lines {
		if c.lines[i].received < cuts[i] {
			return false
		}
	}
	return true
}

// index is a member's place in masks, -1 if it has none.
func (c *Core) index(id fabric.MemberID) int {
	if i, ok := slices.BinarySearch(c.ids, id); ok {
		return i
	}
	return -1
}

// AppendSection appends this package's row section, with its header.
func (c *Core) AppendSection(dst []byte) []byte {
	c.fill(&c.made)
	return c.made.append(dst)
}

// fill makes s what the row says now. Its memory is used again, but for the cut,
// which is the core's own and is replaced, never changed.
func (c *Core) fill(s *section) {
	*s = section{
		view: c.id, generation: c.self.Generation, sent: c.sent, promise: c.promise,
		barrier: c.barrier, high: c.clock, beat: c.beat, hears: c.mask(c.hears), suspects: c.mask(c.suspects),
		received: s.received[:0], value: s.value[:0],
	}
	if c.at >= 0 {
		s.flags |= flagMember
		for i := range c.lines {
			s.received = append(s.received, c.lines[i].received)
		}
	}
	if c.wedged {
		s.flags |= flagWedged
	}
	if d := &c.durable; d.view == c.id {
		s.promised, s.accepted = d.promised, d.accepted
		if c.mine && d.promised == c.votes.promised {
			s.flags, s.out = s.flags|flagLeads, c.out
			if c.limit != nil && d.accepted != d.promised { // a value has it, too
				s.flags, s.cut = s.flags|flagCut, c.limit
			}
		}
		if d.value != nil {
			s.flags, s.value = s.flags|flagValue, appendValue(s.value, d.value, c.view)
		}
	}
}
