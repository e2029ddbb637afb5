package ordered

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/durable"
)

// GroupConfig says who a group's member is and how it works. Zero stands for the
// default.
type GroupConfig struct {
	// Self is this member. Required.
	Self fabric.MemberID
	// Voters are the members of the group when it begins, at most
	// barrier.MaxMembers; the same at all of them. Once a view is known it has the
	// say. Required.
	Voters []fabric.MemberID
	// Dir is a directory of this member's own, in which it keeps what has to
	// outlive its process: its incarnation and its votes on views. It is made if
	// it is not there. Required.
	Dir string
	// NewMember: this member never ran before, should Dir hold no votes. Without, a
	// member whose Dir holds none has lost its disk: it does not vote on views until
	// one has it. With it, losing Dir can break the order (V1), as it may vote twice.
	NewMember bool
	// Attach makes the port: it calls h from then on. The group closes it. Peers
	// may be connected before or after it returns. Required.
	Attach func(h fabric.Handler, incarnation uint64) (fabric.Port, error)

	// Endpoint holds the settings of what is below; its Self, Incarnation, Config
	// and Fresh are set by Open.
	Endpoint EndpointConfig
	// MaxEvents bounds the deliveries that wait for Receive; what is on its way
	// then, and a change of the view has to deliver, may come on top of it: the
	// windows of all members. When it is reached, nothing is taken from the others, who
	// will wait, and leave out this member after StallAfter, and Send fails with
	// ErrWindow. Default 4096.
	MaxEvents int
	// Logger: default none.
	Logger *slog.Logger
}

// saveRetry is how long a member waits that could not write its votes.
const saveRetry = time.Second

// ErrClosed: Close was called.
var ErrClosed = errors.New("ordered: the group is closed")

// ErrTooLarge: a body that the port does not carry.
var ErrTooLarge = errors.New("ordered: too large for the port")

// ErrDestination: a list of destinations that is none.
var ErrDestination = errors.New("ordered: bad destinations")

// overhead is what the group adds to a body at most.
const overhead = 64

// Validate lists all faults of the settings, defaults filled in.
func (c GroupConfig) Validate() error {
	errs := []error{c.Endpoint.Validate()}
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrSettings}, args...)...))
		}
	}
	bad(c.Self == 0, "Self is 0: it has to name this member")
	bad(len(c.Voters) == 0 || len(c.Voters) > barrier.MaxMembers, "%d Voters: want 1 to %d", len(c.Voters), barrier.MaxMembers)
	bad(slices.Contains(c.Voters, 0), "0 is among the Voters: it names nobody")
	bad(c.Dir == "", "Dir is empty: a member that keeps nothing could vote twice")
	bad(c.Attach == nil, "Attach is nil: a member needs a port")
	bad(c.MaxEvents < 0, "MaxEvents is %d: want a positive number", c.MaxEvents)
	return errors.Join(errs...)
}

// Group is a member of a group of processes that all deliver the same messages in
// the same order. Its methods may be called concurrently.
//
// Whoever calls into it, a user or the port, does what is to be done then and
// there, unless somebody is at it already, who then does it, too: endpoint and
// station belong to whoever holds that right (loop.running). No lock is held
// while the port is called.
type Group struct {
	cfg     GroupConfig
	started time.Time
	log     *slog.Logger
	port    fabric.Port
	loop    loop

	// Of whoever holds the right to run.
	endpoint *Endpoint
	station  *station
	tickets  map[ownFrame]*Ticket // of agreed and safe frames
	direct   map[uint64]*Ticket   // of others, by their tickets at the port
	streams  [2]uint64            // numbers of fifo and unordered frames
	full     bool

	events  events
	saves   chan []byte // holds one
	stop    chan struct{}
	workers sync.WaitGroup

	stateMu sync.Mutex
	state   GroupState
}

// ownFrame names an agreed or safe frame of this process: its life, and its number
// there.
type ownFrame struct {
	generation uint32
	seq        uint64
}

// GroupState is what a group knows of itself.
type GroupState struct {
	Self barrier.Life
	// View is the newest that is known, Member says whether this life belongs to
	// it: whoever does not waits to join the next one.
	View   barrier.View
	Member bool
	// Changing: the view is about to change, nothing can be sent.
	Changing bool
	// Suspects lists whom this member suspects.
	Suspects []fabric.MemberID
	// Delivered counts agreed and safe frames, Views the views installed, Left the
	// times that this member had to begin anew, Faults what peers did against the
	// rules.
	Delivered, Views, Left, Faults uint64
	// LastFault is the newest of them, SaveError why the last write failed, nil
	// when it did not.
	LastFault, SaveError error
}

// Open starts a member. It joins the first view that a majority of the voters can
// make, or the next one.
func Open(cfg GroupConfig) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 4096
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("ordered: the member's directory: %w", err)
	}
	saved, err := os.ReadFile(filepath.Join(cfg.Dir, viewFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ordered: read the member's votes: %w: make the file readable; without it the member must not be called new", err)
	}
	isNew := err != nil && cfg.NewMember
	started := time.Now()
	incarnation, err := durable.NextIncarnation(filepath.Join(cfg.Dir, incarnationFile), started)
	if err != nil {
		return nil, fmt.Errorf("ordered: %w", err)
	}
	g := &Group{
		cfg: cfg, started: started, log: cfg.Logger, tickets: map[ownFrame]*Ticket{}, direct: map[uint64]*Ticket{},
		saves: make(chan []byte, 1), stop: make(chan struct{}),
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.events.init(cfg.MaxEvents)
	e := cfg.Endpoint
	e.Self, e.Incarnation, e.Fresh = cfg.Self, incarnation, cfg.NewMember
	e.Settings.Config = barrier.Config{Epoch: 1, Voters: cfg.Voters}
	if isNew {
		if saved, err = barrier.Begin(e.Settings.Settings); err != nil {
			return nil, fmt.Errorf("ordered: %w", err)
		}
		if err := durable.Write(filepath.Join(cfg.Dir, viewFile), saved); err != nil {
			return nil, fmt.Errorf("ordered: keep that this member is new: %w", err)
		}
	}
	g.loop.init(g)
	if g.port, err = cfg.Attach(handler{g}, incarnation); err != nil {
		g.loop.end()
		return nil, fmt.Errorf("ordered: attach the port: %w", err)
	}
	if g.endpoint, err = NewEndpoint(e, saved, g.now()); err != nil {
		g.loop.end()
		return nil, errors.Join(err, g.port.Close())
	}
	g.station = newStation(g.endpoint, g.port)
	g.note(nil)
	g.workers.Go(g.save)
	g.workers.Go(g.loop.carryOn)
	g.loop.begin()
	return g, nil
}

const (
	viewFile        = "view"
	incarnationFile = "incarnation"
)

func (g *Group) now() Instant { return Instant{time.Since(g.started), g.port.Now()} }

// Self is this member.
func (g *Group) Self() fabric.MemberID { return g.cfg.Self }

// Send sends a message to all members of the view, this one included, in the order
// that all have: class fabric.ClassAgreed or fabric.ClassSafe. The body is
// copied.
//
// Errors: ErrWindow (too much is on its way), barrier.ErrNoMember and ErrWedged (a
// view comes or changes): try again later; WaitReady says when. ErrTooLarge,
// ErrClass, ErrClosed: it makes no sense to.
func (g *Group) Send(class fabric.Class, body []byte) (*Ticket, error) {
	if most := g.port.Capabilities().MaxFrame - overhead; len(body) > most {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(body), most)
	}
	t := newTicket(1)
	return t, g.loop.ask(&request{class: class, body: body, ticket: t})
}

// SendTo sends a message to some members, of class fabric.ClassFIFO (in the order
// of this member's messages to them) or fabric.ClassUnordered. Views do not matter
// to it, and what is lost is not sent again: the ticket says so. The body is copied.
func (g *Group) SendTo(to []fabric.MemberID, class fabric.Class, body []byte) (*Ticket, error) {
	if class != fabric.ClassFIFO && class != fabric.ClassUnordered {
		return nil, fmt.Errorf("%w: %v goes to all members: use Send", ErrClass, class)
	}
	if most := g.port.Capabilities().MaxFrame; len(body) > most {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(body), most)
	}
	for i, id := range to {
		if id == 0 || slices.Contains(to[:i], id) {
			return nil, fmt.Errorf("%w: destination %v is nobody, or named twice", ErrDestination, id)
		}
	}
	if len(to) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrDestination)
	}
	t := newTicket(len(to))
	return t, g.loop.ask(&request{to: slices.Clone(to), class: class, body: body, ticket: t})
}

// Receive returns what happened next: a message, or a view. It waits for it until
// the context ends. One event goes to one caller. After Close it returns what is left,
// then ErrClosed.
func (g *Group) Receive(ctx context.Context) (Event, error) {
	e, low, err := g.events.take(ctx)
	if low {
		g.loop.input(input{kind: inputRoom})
	}
	return e, err
}

// SetConfig says who the voters are from now on, in force with the next view; the
// epoch has to be above that of the view's configuration. All members have to
// be told the same, as by an agreed message that each of them acts on.
func (g *Group) SetConfig(cfg barrier.Config) error {
	return g.loop.ask(&request{config: &cfg})
}

// State returns what the group knows of itself.
func (g *Group) State() GroupState {
	g.stateMu.Lock()
	defer g.stateMu.Unlock()
	return g.state
}

// WaitReady waits until something can be sent: this life is a member of the view,
// which is not about to change.
func (g *Group) WaitReady(ctx context.Context) error {
	for {
		changed := g.loop.changed()
		if s := g.State(); s.Member && !s.Changing {
			return nil
		}
		select {
		case <-changed:
		case <-g.stop:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the member as a crash does, but for its peers, which the port tells.
// Tickets that are not settled become ErrClosed.
func (g *Group) Close() error {
	if !g.loop.end() {
		return nil
	}
	close(g.stop)
	g.events.end()
	err := g.port.Close()
	g.workers.Wait()
	g.loop.quiesce()
	for _, t := range g.tickets {
		t.settle(ErrClosed, false)
	}
	for _, t := range g.direct {
		t.settle(ErrClosed, false)
	}
	return err
}
