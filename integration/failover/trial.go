package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/netns"
)

const (
	// leaderEvery is how often each member is asked who leads, which is the resolution
	// of TrialResult.TimeToLeader.
	leaderEvery = 5 * time.Millisecond
	// askTimeout bounds each of these questions.
	askTimeout = 500 * time.Millisecond
	// openTimeout bounds a write of the load, and maxOpen how many are under way: a
	// further one does not begin.
	openTimeout = 2 * time.Second
	maxOpen     = 256
	// lookTries is how often the leader is asked for before the fault.
	lookTries = 50
	// maxRate and maxTrial bound a trial's load and length, maxTrialMembers its cluster.
	maxRate         = 10_000
	maxTrial        = 10 * time.Minute
	maxTrialMembers = 9
)

// TrialConfig is one trial of an experiment with real processes.
type TrialConfig struct {
	Programs
	// Side is the program, stock or dv; Args are further arguments of its members.
	Side string
	Args []string
	// Members of the cluster, 1 to 9; some faults need 3.
	Members int
	// Fault is one of TrialFaults.
	Fault string
	// Heartbeat and Election are etcd's timers, in whole milliseconds.
	Heartbeat, Election time.Duration
	PreVote             bool
	// WarmUp is how long clients write before the fault, Duration for how long after it.
	WarmUp, Duration time.Duration
	// Rate is how many writes begin in a second, at members drawn at random.
	Rate int
	// Seed of what is drawn. Processes and their timers do as they like.
	Seed uint64
}

// TrialResult is what a trial measured from the fault on.
type TrialResult struct {
	// Elections that somebody was seen to have won, and how much the term rose.
	Elections int
	Terms     uint64
	// TimeToLeader is from the fault to the moment at which a member says that it
	// follows, or is, the leader of a later term; -1: there was none.
	TimeToLeader time.Duration
	// Unavailable is the longest time without an acknowledged write.
	Unavailable time.Duration
	Acked       uint64
	// Led: somebody led in the end, before anything was mended.
	Led bool
}

// trialFaults are the faults of trials; with links: in network namespaces, which take
// root. They go on until ctx ends.
var trialFaults = map[string]struct {
	links   bool
	members int
	inflict func(ctx context.Context, t *realTrial) error
}{
	"none":                     {false, 1, func(context.Context, *realTrial) error { return nil }},
	"crash-leader":             {false, 3, func(_ context.Context, t *realTrial) error { t.side.view.leader.Kill(); return nil }},
	"simultaneous-start":       {false, 1, restartAll},
	"rolling-restart":          {false, 3, restartOneByOne},
	"rejoin-higher-term":       {true, 3, rejoin},
	"flapping-after-isolation": {true, 3, flapAfterIsolation},
	"simplex-leader":           {true, 3, func(_ context.Context, t *realTrial) error { return t.links.Only(t.toLeader()) }},
	"quorum-loss":              {true, 3, steps("quorum-loss")},
	"constrained":              {true, 3, steps("constrained")},
	"chained":                  {true, 3, steps("leader-follower")},
	"rotating-hub":             {true, 3, rotateHub},
}

// TrialFaults are the names of all of them.
func TrialFaults() (names []string) {
	for name := range trialFaults {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Validate returns all faults at once.
func (c TrialConfig) Validate() error {
	errs := c.Programs.withDefaults().faults()
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	f, known := trialFaults[c.Fault]
	bad(!known, "fault %q: use any of %v", c.Fault, TrialFaults())
	bad(c.Side != StockSide && c.Side != DVSide, "side %q: use %s or %s", c.Side, StockSide, DVSide)
	bad(c.Members < max(1, f.members) || c.Members > maxTrialMembers, "%d members: fault %s takes %d to %d", c.Members, c.Fault, max(1, f.members), maxTrialMembers)
	bad(c.Heartbeat < time.Millisecond || c.Heartbeat%time.Millisecond != 0 || c.Election%time.Millisecond != 0 || c.Election < 5*c.Heartbeat,
		"heartbeat %v and election timeout %v: whole milliseconds, the second five times the first at least", c.Heartbeat, c.Election)
	bad(c.WarmUp < 0 || c.Duration <= 0 || c.WarmUp+c.Duration > maxTrial, "%v and %v: up to %v together", c.WarmUp, c.Duration, maxTrial)
	bad(c.Rate < 1 || c.Rate > maxRate, "%d writes in a second: use 1 to %d", c.Rate, maxRate)
	return errors.Join(errs...)
}

// realTrial is a trial that is on.
type realTrial struct {
	TrialConfig
	side  *side
	links *netns.Links // nil: the members are on loopback
	rng   *rand.Rand
	index int // of the member that led first
}

// RunTrial starts a cluster, lets clients write, inflicts the fault, measures, mends,
// and reads everything back that was acknowledged.
func RunTrial(ctx context.Context, cfg TrialConfig) (r TrialResult, err error) {
	cfg.Programs = cfg.Programs.withDefaults()
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	t := &realTrial{TrialConfig: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1))}
	var l lab = signals{}
	if trialFaults[cfg.Fault].links {
		if t.links, err = netns.NewLinks(ctx, cfg.Members); err != nil {
			return r, err
		}
		l = links{t.links}
	}
	args := append([]string{
		fmt.Sprintf("--heartbeat-interval=%d", cfg.Heartbeat.Milliseconds()), fmt.Sprintf("--election-timeout=%d", cfg.Election.Milliseconds()),
		fmt.Sprintf("--pre-vote=%v", cfg.PreVote),
	}, cfg.Args...)
	if t.side, err = openSide(ctx, cfg.Side, cfg.Programs, cfg.Members, l, args...); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, t.side.close()) }()
	if r, err = t.measure(ctx); err != nil {
		return r, err
	}
	if t.links != nil {
		err = t.links.Only(nil)
	}
	for _, m := range t.side.cluster.Members() {
		if m.Pid() == 0 {
			err = errors.Join(err, m.Restart(ctx))
		}
	}
	if err != nil {
		return r, err
	}
	if _, err := t.side.settle(ctx); err != nil {
		return r, err
	}
	return r, t.side.verify(ctx)
}

// measure is the part that counts.
func (t *realTrial) measure(ctx context.Context) (r TrialResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var g gaps
	before := t.side.ledger.Writes()
	all.Go(func() { t.load(ctx, &g) })
	pause(ctx, t.WarmUp)
	written := t.side.ledger.Writes()
	if written == before && t.WarmUp > 0 {
		return r, errors.New("no write was acknowledged before the fault: the cluster does not work")
	}
	if err := t.look(ctx); err != nil {
		return r, err
	}
	w := newWatcher(t.side)
	struck := time.Now()
	g.start(struck)
	for _, m := range t.side.cluster.Members() {
		all.Go(func() { w.watch(ctx, m) })
	}
	inflicted := make(chan error, 1)
	all.Go(func() { inflicted <- trialFaults[t.Fault].inflict(ctx, t) })
	pause(ctx, t.Duration)
	end := time.Now()
	r.Unavailable, r.Acked = g.end(end), t.side.ledger.Writes()-written
	r.Elections, r.Terms, r.TimeToLeader, r.Led = w.result(struck)
	err = context.Cause(ctx)
	cancel()
	return r, errors.Join(err, <-inflicted)
}

// look takes who leads now: it may have changed since the cluster settled.
func (t *realTrial) look(ctx context.Context) error {
	members := t.side.cluster.Members()
	for range lookTries {
		answers := t.side.statuses(ctx, members)
		term, _ := maxTerm(answers)
		for i, st := range answers {
			if st != nil && st.RaftTerm == term && st.Leader == st.Header.MemberId {
				t.index, t.side.view = i, view{members[i], term}
				return nil
			}
		}
		pause(ctx, pollEvery)
	}
	return errors.New("nobody led before the fault: the cluster does not work, or this machine is too busy")
}

// load begins writes at random times at random members.
func (t *realTrial) load(ctx context.Context, g *gaps) {
	var puts sync.WaitGroup
	defer puts.Wait()
	rng := rand.New(rand.NewPCG(t.Seed, 2))
	free := make(chan struct{}, maxOpen)
	members := t.side.cluster.Members()
	for next := time.Now(); ctx.Err() == nil; {
		next = next.Add(time.Duration(rng.ExpFloat64() * float64(time.Second) / float64(t.Rate)))
		pause(ctx, time.Until(next))
		kv := t.side.clients[members[rng.IntN(len(members))]]
		select {
		case free <- struct{}{}:
			puts.Go(func() {
				defer func() { <-free }()
				if a, ok := put(ctx, kv, openTimeout, t.side.ledger, newKey(), 1); ok {
					g.note(a.done)
				}
			})
		default:
		}
	}
}

// watcher collects what members say of who leads.
type watcher struct {
	side *side
	term uint64 // before the fault

	mu    sync.Mutex
	seen  leaders
	first time.Time // somebody knew the leader of a later term
	last  uint64    // the highest term
	says  map[*cluster.Member]*clientv3.StatusResponse
}

func newWatcher(s *side) *watcher {
	return &watcher{side: s, term: s.view.term, last: s.view.term, seen: leaders{}, says: map[*cluster.Member]*clientv3.StatusResponse{}}
}

func (w *watcher) watch(ctx context.Context, m *cluster.Member) {
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, askTimeout)
		st, err := w.side.clients[m].Status(asked, m.ClientURL)
		cancel()
		w.note(m, st, err == nil, time.Now())
		pause(ctx, leaderEvery)
	}
}

func (w *watcher) note(m *cluster.Member, st *clientv3.StatusResponse, ok bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.says, m)
	if !ok {
		return
	}
	w.says[m] = st
	w.last = max(w.last, st.RaftTerm)
	if st.Leader == 0 || st.RaftTerm <= w.term {
		return
	}
	w.seen[st.RaftTerm] = st.Leader
	if w.first.IsZero() {
		w.first = now
	}
}

// result is what there was to be seen since a fault.
func (w *watcher) result(since time.Time) (elections int, terms uint64, took time.Duration, led bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	took = -1
	if !w.first.IsZero() {
		took = w.first.Sub(since)
	}
	for _, st := range w.says {
		led = led || st.Leader != 0 && st.Leader == st.Header.MemberId
	}
	return len(w.seen), w.last - w.term, took, led
}

// rest are the members that did not lead first, by their numbers.
func (t *realTrial) rest() (rest []int) {
	for i := range t.Members {
		if i != t.index {
			rest = append(rest, i)
		}
	}
	return rest
}

// toLeader is what all others send to the leader.
func (t *realTrial) toLeader() (cut []netns.Link) {
	for _, i := range t.rest() {
		cut = append(cut, netns.Link{From: i, To: t.index})
	}
	return cut
}

// steps plays a scenario.
func steps(name string) func(context.Context, *realTrial) error {
	return func(ctx context.Context, t *realTrial) error {
		all := Scenarios()
		s := all[slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })]
		begin := time.Now()
		for _, st := range s.steps(t.index, t.rest(), t.Duration) {
			if pause(ctx, time.Until(begin.Add(st.at))); ctx.Err() != nil {
				return nil
			}
			if err := t.links.Only(st.cut); err != nil {
				return err
			}
		}
		return nil
	}
}

// rotateHub: all links are cut but those of one member, every second of another.
func rotateHub(ctx context.Context, t *realTrial) error {
	order := append(t.rest(), t.index)
	for k := 0; ctx.Err() == nil; k++ {
		if err := t.links.Only(starOf(order[k%len(order)], t.Members)); err != nil {
			return err
		}
		pause(ctx, time.Second)
	}
	return nil
}

// rejoin: a follower is cut off for three election timeouts, then comes back.
func rejoin(ctx context.Context, t *realTrial) error {
	if err := t.links.Only(netns.Around(t.rest()[0], t.Members)); err != nil {
		return err
	}
	pause(ctx, min(3*t.Election, t.Duration/2))
	return t.links.Only(nil)
}

// flapAfterIsolation: the leader is cut off for two election timeouts, then its links
// come and go.
func flapAfterIsolation(ctx context.Context, t *realTrial) error {
	alone := netns.Around(t.index, t.Members)
	for cut, wait := alone, 2*t.Election; ctx.Err() == nil; wait = t.Election/4 + time.Duration(t.rng.Int64N(int64(t.Election))) {
		if err := t.links.Only(cut); err != nil {
			return err
		}
		pause(ctx, wait)
		if cut = alone; len(t.links.CutNow()) > 0 {
			cut = nil
		}
	}
	return nil
}

// restartAll: all members are killed, then started at once.
func restartAll(ctx context.Context, t *realTrial) error {
	members := t.side.cluster.Members()
	for _, m := range members {
		m.Kill()
	}
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { errs[i] = m.Restart(ctx) })
	}
	all.Wait()
	return ended(ctx, errors.Join(errs...))
}

// restartOneByOne: one member after the other is stopped and started, the leader last.
func restartOneByOne(ctx context.Context, t *realTrial) error {
	members := t.side.cluster.Members()
	for _, i := range append(t.rest(), t.index) {
		if ctx.Err() != nil {
			return nil
		}
		members[i].Stop()
		if err := members[i].Restart(ctx); err != nil {
			return ended(ctx, err)
		}
		pause(ctx, t.Duration/time.Duration(2*(t.Members+1)))
	}
	return nil
}

// ended is nil for an error that the end of a trial caused.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
