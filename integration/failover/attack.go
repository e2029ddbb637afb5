package failover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/cluster"
)

const (
	defaultAttack      = 30 * time.Second
	defaultAttackEvery = 50 * time.Millisecond
	// beforeAttack is how long the writers write before it, for comparison.
	beforeAttack = 3 * time.Second
	// attackTimeout bounds a try of a writer during the attack.
	attackTimeout = 500 * time.Millisecond
	// postTimeout bounds the delivery of one message.
	postTimeout = time.Second
	// forced is the context of a vote that a voter grants although it hears a
	// leader (raft's campaignTransfer).
	forced = "CampaignTransfer"
	// longLog is by how much the campaigner's log pretends to be longer.
	longLog = 1 << 20
)

// AttackConfig says how RunAttack attacks.
type AttackConfig struct {
	Programs
	// Writers, half of them through each of the honest members. Default 2.
	Writers int
	// Duration of an attack. Default 30s.
	Duration time.Duration
	// Every is the time between two campaigns. Default 50ms.
	Every time.Duration
	// Trials of each side. Default 1.
	Trials int
}

func (c AttackConfig) withDefaults() AttackConfig {
	c.Programs = c.Programs.withDefaults()
	if c.Writers == 0 {
		c.Writers = 2
	}
	if c.Duration == 0 {
		c.Duration = defaultAttack
	}
	if c.Every == 0 {
		c.Every = defaultAttackEvery
	}
	if c.Trials == 0 {
		c.Trials = 1
	}
	return c
}

// Validate returns all faults at once.
func (c AttackConfig) Validate() error {
	c = c.withDefaults()
	errs := c.Programs.faults()
	if c.Writers < 1 || c.Writers > maxWriters {
		errs = append(errs, fmt.Errorf("%d writers: use 1 to %d", c.Writers, maxWriters))
	}
	if c.Duration < 0 || c.Every < 0 {
		errs = append(errs, errors.New("times cannot be negative"))
	}
	if c.Trials < 1 {
		errs = append(errs, fmt.Errorf("%d trials measure nothing: use 1 or more", c.Trials))
	}
	return errors.Join(errs...)
}

// An AttackResult is one attack on each side.
type AttackResult struct {
	Trial   int           `json:"trial"`
	Writers int           `json:"writers"`
	Seconds float64       `json:"seconds"`
	EveryMs float64       `json:"every_ms"`
	Stock   AttackNumbers `json:"stock"`
	DV      AttackNumbers `json:"dv"`
	Paths   string        `json:"paths"`

	bench.Origin
}

// AttackNumbers are those of one side.
type AttackNumbers struct {
	// BeforePS and DuringPS are acknowledged writes per second.
	BeforePS float64 `json:"before_per_s"`
	DuringPS float64 `json:"during_per_s"`
	// LongestGapMs without an acknowledged write during the attack.
	LongestGapMs float64 `json:"longest_gap_ms"`
	Terms        uint64  `json:"terms"`
	Changes      int     `json:"changes"`
	// Sent are campaigns, Refused those of their messages that a member did not take.
	Sent    int    `json:"sent"`
	Refused int    `json:"refused"`
	Writes  uint64 `json:"writes"` // acknowledged, and read back
}

// RunAttack stops a follower of three members and speaks in its name: it
// campaigns for ever, with votes that ignore leases. It measures what the two
// others still write.
func RunAttack(ctx context.Context, cfg AttackConfig, report func(AttackResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	var r AttackResult
	done := 0 // sides of this trial
	return inTurn(cfg.Trials, bothSides, func(trial int, side string) error {
		if done == 0 {
			r = AttackResult{Trial: trial + 1, Writers: cfg.Writers, Seconds: cfg.Duration.Seconds(), EveryMs: millis(cfg.Every), Origin: bench.Here()}
		}
		n, paths, err := attack(ctx, cfg, side)
		if err != nil {
			return fmt.Errorf("attack: %w", err)
		}
		cfg.Progress("attack %d/%d on %s: %.0f writes/s before, %.0f during, longest gap %.0f ms, %d terms", trial+1, cfg.Trials, side, n.BeforePS, n.DuringPS, n.LongestGapMs, n.Terms)
		*of(side, &r.Stock, &r.DV) = n
		if side == DVSide {
			r.Paths = paths
		}
		if done++; done == len(bothSides) {
			report(r)
			done = 0
		}
		return nil
	})
}

func attack(ctx context.Context, cfg AttackConfig, name string) (n AttackNumbers, paths string, err error) {
	s, err := openSide(ctx, name, cfg.Programs, minMembers, signals{})
	if err != nil {
		return n, "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	attacker := s.others(s.view.leader)[0]
	honest := s.others(attacker)
	c, err := s.newCampaigner(ctx, attacker, honest)
	if err != nil {
		return n, "", err
	}
	defer c.http.CloseIdleConnections()
	attacker.Stop()
	if n, err = s.underAttack(ctx, cfg, c); err != nil {
		return n, "", err
	}
	if err := attacker.Restart(ctx); err != nil {
		return n, "", err
	}
	// A term that was driven high is no harm; all must be able to agree again.
	if _, err := s.settle(ctx); err != nil {
		return n, "", err
	}
	n.Writes = s.ledger.Writes()
	return n, s.pathNames(), s.verify(ctx)
}

// underAttack writes, then writes under attack.
func (s *side) underAttack(ctx context.Context, cfg AttackConfig, c *campaigner) (n AttackNumbers, err error) {
	var g gaps
	load := startWriters(ctx, cfg.Writers, s.kvs(c.honest), attackTimeout, s.ledger, func(a ack) { g.note(a.done) })
	defer load.stop()
	pause(ctx, beforeAttack/3) // connections, and a follower less
	begin, first := time.Now(), s.ledger.Writes()
	pause(ctx, beforeAttack)
	attacked, second := time.Now(), s.ledger.Writes()
	if second == first {
		return n, errors.New("nothing was written before the attack: the cluster does not work")
	}
	n.BeforePS = bench.Round(float64(second-first) / attacked.Sub(begin).Seconds())
	g.start(attacked)
	c.run(ctx, cfg.Every, cfg.Duration)
	end := time.Now()
	n.DuringPS = bench.Round(float64(s.ledger.Writes()-second) / end.Sub(attacked).Seconds())
	n.LongestGapMs = bench.Round(millis(g.end(end)))
	n.Terms, n.Changes, n.Sent, n.Refused = c.last-s.view.term, c.seen.changes(), c.sent, c.refused
	return n, context.Cause(ctx)
}

// gaps keeps the longest time between two writes since start.
type gaps struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (g *gaps) start(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.longest = at, 0
}

func (g *gaps) note(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.After(g.last) {
		g.longest, g.last = max(g.longest, at.Sub(g.last)), at
	}
}

// end counts the time since the last write as a gap too.
func (g *gaps) end(at time.Time) time.Duration {
	g.note(at)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.longest
}

// A campaigner speaks to the honest members in the name of another, as
// rafthttp's pipeline does.
type campaigner struct {
	side    *side
	honest  []*cluster.Member
	ids     []uint64 // of honest
	id      uint64
	cluster uint64
	peerURL string
	http    *http.Client
	last    uint64 // the highest term seen or used
	seen    leaders
	sent    int
	refused int
}

// newCampaigner learns the ids while all members run.
func (s *side) newCampaigner(ctx context.Context, as *cluster.Member, honest []*cluster.Member) (*campaigner, error) {
	c := &campaigner{side: s, honest: honest, peerURL: as.PeerURL, last: s.view.term, seen: leaders{s.view.term: 1}, http: &http.Client{Timeout: postTimeout, Transport: &http.Transport{}}}
	answers := s.statuses(ctx, append([]*cluster.Member{as}, honest...))
	for i, st := range answers {
		if st == nil {
			return nil, errors.New("a member did not say who it is")
		}
		if i == 0 {
			c.id, c.cluster = st.Header.MemberId, st.Header.ClusterId
		} else {
			c.ids = append(c.ids, st.Header.MemberId)
		}
	}
	return c, nil
}

// run campaigns for d.
func (c *campaigner) run(ctx context.Context, every, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for ctx.Err() == nil {
		c.campaign(ctx)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// campaign asks all for their votes in the next term.
func (c *campaigner) campaign(ctx context.Context) {
	answers := c.side.statuses(ctx, c.honest)
	c.seen.note(answers)
	if term, ok := maxTerm(answers); ok {
		c.last = max(c.last, term)
	}
	c.last++
	c.sent++
	errs := make([]error, len(c.honest))
	var wg sync.WaitGroup
	for i, m := range c.honest {
		wg.Go(func() { errs[i] = c.post(ctx, m.PeerURL, c.vote(c.ids[i], answers[i])) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && ctx.Err() == nil {
			c.refused++
		}
	}
}

// vote pretends to a longer log than the voter has.
func (c *campaigner) vote(to uint64, voter *clientv3.StatusResponse) *raftpb.Message {
	var index uint64 = longLog
	if voter != nil {
		index += voter.RaftIndex
	}
	return &raftpb.Message{
		Type: raftpb.MsgVote.Enum(), From: new(c.id), To: new(to), Term: new(c.last),
		Index: new(index), LogTerm: new(c.last - 1), Context: []byte(forced),
	}
}

func (c *campaigner) post(ctx context.Context, peerURL string, m *raftpb.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, peerURL+"/raft", bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/protobuf", "X-Server-From": types.ID(c.id).String(), "X-Server-Version": version.Version,
		"X-Min-Cluster-Version": version.MinClusterVersion, "X-Etcd-Cluster-ID": types.ID(c.cluster).String(), "X-PeerURLs": c.peerURL,
	} {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s: %s", peerURL, resp.Status)
	}
	return nil
}

// WriteAttackTable writes results for people.
func WriteAttackTable(w io.Writer, results []AttackResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "attack\t\tseconds\tcampaign every ms\tcampaigns (refused)\twrites/s before\tduring\tlongest gap ms\tterms\tleader changes\tread back\t")
	for _, r := range results {
		for i, n := range []AttackNumbers{r.Stock, r.DV} {
			fmt.Fprintf(t, "%d\t%s\t%.0f\t%.0f\t%d (%d)\t%.0f\t%.1f\t%.0f\t%d\t%d\t%d\t\n", r.Trial, []string{StockSide, DVSide}[i], r.Seconds, r.EveryMs,
				n.Sent, n.Refused, n.BeforePS, n.DuringPS, n.LongestGapMs, n.Terms, n.Changes, n.Writes)
		}
	}
	return t.Flush()
}
