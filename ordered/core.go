package ordered

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// Settings of a Core. Those of the barrier have no defaults; zero stands for the
// default of the others.
type Settings struct {
	barrier.Settings
	// Window is how many frames of this member may be on their way: sent, and not
	// known to be at all members. Default 1024. WindowBytes bounds their bodies.
	// Default 16 MiB.
	Window      int
	WindowBytes int
}

func (s Settings) withDefaults() Settings {
	if s.Window == 0 {
		s.Window = 1024
	}
	if s.WindowBytes == 0 {
		s.WindowBytes = 16 << 20
	}
	return s
}

// Errors of Send. Besides it fails with barrier.ErrNoMember and ErrWedged: a
// view comes, or changes; try again when it is installed.
var (
	// ErrWindow: too much is on its way. Try again when frames are delivered.
	ErrWindow = errors.New("ordered: the window is full")
	// ErrClass: only agreed and safe frames are ordered.
	ErrClass = errors.New("ordered: neither agreed nor safe")
	// ErrSettings: settings that no core can have.
	ErrSettings = errors.New("ordered: bad settings")
)

// Output is what is to be done, in the order of the fields.
type Output struct {
	// Save and Publish are barrier's.
	Save []byte
	// Events are deliveries and views, in order.
	Events  []Event
	Sends   []Send
	Publish bool
	// Faults name the members whose frames were dropped, and say why.
	Faults []Fault
}

// Fault says what a member did that it must not do.
type Fault struct {
	Member fabric.MemberID
	Err    error
}

// Event is a delivery, or, if View is set, a view.
type Event struct {
	// Of a delivery. Seq is the number that Send returned at its sender.
	From  barrier.Life
	Class fabric.Class
	Seq   uint64
	Stamp fabric.Stamp
	// Body is not to be changed.
	Body []byte
	// Safe: all members of the view are known to have it. Not set on a safe
	// frame that its view's end delivers: those whom the next view leaves out may
	// not have it.
	Safe bool

	// Of a view. What is lost between two views of which this life is not a
	// member, or has not stayed from one to the next, is not named.
	View *barrier.Installed
}

// Send is a frame for some members. What it holds is not to be changed.
type Send struct {
	To     []fabric.MemberID
	Class  fabric.Class
	Stream uint64
	Stamp  fabric.Stamp
	Body   []byte
}

// Core is one member's. Not for concurrent use.
type Core struct {
	b        *barrier.Core
	settings Settings
	view     *barrier.View
	id       barrier.ViewID
	at       int
	others   []fabric.MemberID // of the view
	lines    []line
	parked   []queue      // of the view to come, or not to be taken now
	ownBytes int          // of kept own frames
	full     bool         // see SetFull
	safe     fabric.Stamp // others were told that all safe frames up to it are here
	did      Output
	// forwarded is up to where frames of the i-th member were sent to the j-th for
	// the sake of a cut, by i × members + j.
	forwarded []uint64
}

// line is what is kept of one member's frames of the view.
type line struct {
	kept      []letter // in order; those that all members have are dropped
	delivered int      // of kept
}

// New returns the core of a process that has just started; see barrier.New.
func New(s Settings, saved []byte) (*Core, error) {
	s = s.withDefaults()
	if s.Window < 1 || s.WindowBytes < 1 {
		return nil, fmt.Errorf("%w: Window %d, WindowBytes %d: want positive numbers", ErrSettings, s.Window, s.WindowBytes)
	}
	b, err := barrier.New(s.Settings, saved)
	if err != nil {
		return nil, err
	}
	c := &Core{b: b, settings: s, at: -1}
	c.view, _ = b.View()
	c.after()
	return c, nil
}

// Barrier is the core below. Only its questions may be asked: inputs go through
// this core.
func (c *Core) Barrier() *barrier.Core { return c.b }

// Take returns what is to be done since it was called last.
func (c *Core) Take() Output {
	o := c.did
	c.did = Output{}
	return o
}

// Send numbers, stamps and sends a frame to all members of the view, this one
// included, now by the fabric's clock. The body is copied. The number counts the
// frames of this life.
func (c *Core) Send(now int64, class fabric.Class, body []byte) (seq uint64, err error) {
	if class != fabric.ClassAgreed && class != fabric.ClassSafe {
		return 0, fmt.Errorf("%w: %v", ErrClass, class)
	}
	if c.full {
		return 0, fmt.Errorf("%w: this member has not received what was delivered to it", ErrWindow)
	}
	if c.at >= 0 && (len(c.lines[c.at].kept) >= c.settings.Window || c.ownBytes > 0 && c.ownBytes+len(body) > c.settings.WindowBytes) {
		return 0, fmt.Errorf("%w: %d frames, %d bytes are not known to be at all %d members", ErrWindow, len(c.lines[c.at].kept), c.ownBytes, len(c.view.Members))
	}
	seq, stamp, err := c.b.Stamp(now)
	if err != nil {
		return 0, err
	}
	l := letter{c.b.Self(), c.id, seq, stamp, class, bytes.Clone(body)}
	c.lines[c.at].kept = append(c.lines[c.at].kept, l)
	c.ownBytes += len(body)
	if len(c.others) > 0 {
		c.send(c.others, &l)
	}
	c.after()
	return seq, nil
}

func (c *Core) send(to []fabric.MemberID, l *letter) {
	c.did.Sends = append(c.did.Sends, Send{To: to, Class: l.class, Stream: l.seq, Stamp: l.stamp, Body: appendLetter(nil, l, c.b.Self().Member)})
}

// Tell sends the view to a member that is behind; see barrier.Core.Behind.
func (c *Core) Tell(to fabric.MemberID) {
	c.did.Sends = append(c.did.Sends, Send{To: []fabric.MemberID{to}, Class: fabric.ClassAgreed, Stamp: c.view.Floor, Body: barrier.AppendView([]byte{flagView}, c.view)})
}

// Frame takes a frame of class agreed or safe that came from a peer; its body is
// kept.
func (c *Core) Frame(from fabric.MemberID, f *fabric.Frame) error {
	if v, err := parseTold(from, f); err != nil || v != nil {
		if err == nil {
			err = c.Learn(v)
		}
		return err
	}
	l, err := parseLetter(from, f)
	if err != nil {
		return err
	}
	if err := c.park(l); err != nil {
		return err
	}
	c.after()
	return nil
}

// SetFull says whether there is room for further deliveries. Without, no frame is
// taken or sent, so that others do not run ahead, and, if it lasts, leave this
// member out: memory stays bounded (F3).
func (c *Core) SetFull(full bool) {
	if c.full != full {
		c.full = full
		c.after()
	}
}

// Row takes a peer's row; see barrier.
func (c *Core) Row(from fabric.MemberID, incarnation uint64, raw *fabric.Section) error {
	err := c.b.Row(from, incarnation, raw)
	c.after()
	return err
}

// Learn takes a view that a peer says was decided.
func (c *Core) Learn(v *barrier.View) error {
	err := c.b.Learn(v)
	c.after()
	return err
}

// Saved says that Output.Save is on stable storage.
func (c *Core) Saved() {
	c.b.Saved()
	c.after()
}

// SetConfig, SetSuspects, Propose and Pledge are barrier's.
func (c *Core) SetConfig(cfg barrier.Config) error {
	err := c.b.SetConfig(cfg)
	c.after()
	return err
}

// SetSuspects takes whom this member suspects.
func (c *Core) SetSuspects(ids []fabric.MemberID) {
	c.b.SetSuspects(ids)
	c.after()
}

// SetHears takes whom this member hears directly.
func (c *Core) SetHears(ids []fabric.MemberID) {
	c.b.SetHears(ids)
	c.after()
}

// Propose begins a ballot for the next view, if there is a reason to.
func (c *Core) Propose() bool {
	ok := c.b.Propose()
	c.after()
	return ok
}

// Pledge promises anew.
func (c *Core) Pledge(now int64) {
	c.b.Pledge(now)
	c.after()
}

// Needs reports whether a frame that did not reach a member may still be of use
// to it.
func (c *Core) Needs(to fabric.MemberID, s *Send) bool {
	if len(s.Body) > 0 && s.Body[0] == flagView {
		return false // told again while the member's row is behind
	}
	f := fabric.Frame{Header: fabric.Header{Class: s.Class, Stream: s.Stream, Stamp: s.Stamp, Has: fabric.HasStamp}, Body: s.Body}
	l, err := parseLetter(c.b.Self().Member, &f)
	i, member := c.memberOf(to)
	of, known := c.memberOf(l.from.Member)
	return err == nil && member && known && l.view == c.id && i != c.at && c.b.Lacks(i, of, l.seq)
}

// Lost sends a frame again to a member that it did not reach, if that needs it.
func (c *Core) Lost(to fabric.MemberID, s *Send) {
	if c.Needs(to, s) {
		again := *s
		again.To = []fabric.MemberID{to}
		c.did.Sends = append(c.did.Sends, again)
	}
}

func (c *Core) memberOf(id fabric.MemberID) (int, bool) {
	i := slices.IndexFunc(c.view.Members, func(l barrier.Life) bool { return l.Member == id })
	return i, i >= 0 && c.at >= 0
}
