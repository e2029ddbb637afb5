package failover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/ledger"
)

const (
	pollEvery     = 100 * time.Millisecond
	statusTimeout = time.Second
	dialTimeout   = 5 * time.Second
	// redialFirst and redialMax bound how long a client waits before it dials a
	// member again that was gone.
	redialFirst = 50 * time.Millisecond
	redialMax   = 200 * time.Millisecond
	// settleFor is how long all members must have agreed before a trial.
	settleFor = 2 * time.Second
	// nudgeEvery is how often something is written while the members do not agree, at
	// one after the other: etcd's member that a snapshot brought up to date tells the
	// applied index that it had before, and may refuse writes, until the next entry.
	nudgeEvery    = 2 * time.Second
	settleTimeout = 90 * time.Second
	// pathsTimeout is how long etcd-dv may take for its paths at first.
	pathsTimeout  = 10 * time.Second
	verifyTimeout = 2 * time.Minute
	rafthttp      = "rafthttp"
)

// Names of the two sides.
const (
	StockSide = "stock"
	DVSide    = "dv"
)

// A side is one of the two clusters that are compared.
type side struct {
	name    string
	dir     string
	logs    string // folder to keep logs in
	cluster *cluster.Cluster
	lab     lab
	clients map[*cluster.Member]*clientv3.Client
	ledger  *ledger.Ledger
	// paths of messages when the cluster was new; it has settled again when it
	// uses no others.
	paths []string
	view  view
}

// A view is what all members agree on.
type view struct {
	leader *cluster.Member
	term   uint64
}

// openSide starts a cluster of n members in lab, and waits until it has settled.
func openSide(ctx context.Context, name string, p Programs, n int, l lab, args ...string) (_ *side, err error) {
	s := &side{name: name, logs: p.Logs, lab: l, ledger: ledger.New(prefix), clients: map[*cluster.Member]*clientv3.Client{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp(p.Dir, "raftdv-failover-"); err != nil {
		return nil, fmt.Errorf("folder for the data: %w", err)
	}
	cfg := cluster.Config{Binary: p.Stock, Size: n, Dir: s.dir, Args: args, Place: l.place}
	if name == DVSide {
		cfg.Binary, cfg.Args = p.DV, slices.Concat(args, p.DVArgs)
	}
	if s.cluster, err = cluster.New(ctx, cfg); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	for _, m := range s.cluster.Members() {
		if s.clients[m], err = clientOf(m); err != nil {
			return nil, err
		}
	}
	s.firstPaths(ctx)
	_, err = s.settle(ctx)
	return s, err
}

func clientOf(m *cluster.Member) (*clientv3.Client, error) {
	b := backoff.DefaultConfig
	b.BaseDelay, b.MaxDelay = redialFirst, redialMax
	return clientv3.New(clientv3.Config{
		Endpoints: []string{m.ClientURL}, DialTimeout: dialTimeout, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: b, MinConnectTimeout: dialTimeout})},
	})
}

// close ends the members, then what they ran in. It may be called on a side
// that is not complete.
func (s *side) close() error {
	for _, c := range s.clients {
		c.Close()
	}
	// A process that waits for a disk cannot end.
	err := s.lab.release()
	if s.cluster != nil {
		err = errors.Join(err, s.keepLogs())
		s.cluster.Close()
	}
	err = errors.Join(err, s.lab.close())
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// keepLogs copies the members' logs to where the caller wants them.
func (s *side) keepLogs() error {
	if s.logs == "" {
		return nil
	}
	dir, err := os.MkdirTemp(s.logs, s.name+"-")
	if err != nil {
		return fmt.Errorf("folder for the members' logs: %w", err)
	}
	for _, m := range s.cluster.Members() {
		text, err := os.ReadFile(m.LogPath())
		if err != nil {
			return fmt.Errorf("keep the log of %s: %w", m.Name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, m.Name+".log"), text, 0o644); err != nil {
			return fmt.Errorf("keep the log of %s: %w", m.Name, err)
		}
	}
	return nil
}

// others returns the members but one.
func (s *side) others(but *cluster.Member) []*cluster.Member {
	return slices.DeleteFunc(s.cluster.Members(), func(m *cluster.Member) bool { return m == but })
}

func (s *side) kvs(members []*cluster.Member) (kvs []clientv3.KV) {
	for _, m := range members {
		kvs = append(kvs, s.clients[m])
	}
	return kvs
}

// statuses asks members for their views, all at once; nil for one that did not
// answer.
func (s *side) statuses(ctx context.Context, members []*cluster.Member) []*clientv3.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answers := make([]*clientv3.StatusResponse, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			if st, err := s.clients[m].Status(ctx, m.ClientURL); err == nil {
				answers[i] = st
			}
		})
	}
	wg.Wait()
	return answers
}

// maxTerm of those that answered; false if nobody did.
func maxTerm(answers []*clientv3.StatusResponse) (term uint64, ok bool) {
	for _, st := range answers {
		if st != nil {
			term, ok = max(term, st.RaftTerm), true
		}
	}
	return term, ok
}

// leaders are the terms that had a leader, as far as somebody saw it.
type leaders map[uint64]uint64

func (l leaders) note(answers []*clientv3.StatusResponse) {
	for _, st := range answers {
		if st != nil && st.Leader != 0 {
			l[st.RaftTerm] = st.Leader
		}
	}
}

// changes is how often leadership began anew: a term has one leader at most.
func (l leaders) changes() int { return max(0, len(l)-1) }

// agreed returns the common view of members, false if they differ, one does not
// answer or lacks entries.
func agreed(members []*cluster.Member, answers []*clientv3.StatusResponse) (view, bool) {
	var v view
	for i, st := range answers {
		if st == nil || st.Leader == 0 {
			return view{}, false
		}
		f := answers[0]
		if st.Leader != f.Leader || st.RaftTerm != f.RaftTerm || st.RaftAppliedIndex != f.RaftAppliedIndex || st.RaftIndex != f.RaftIndex {
			return view{}, false
		}
		if st.Header.MemberId == st.Leader {
			v = view{members[i], st.RaftTerm}
		}
	}
	return v, v.leader != nil
}

// settle returns when all members have agreed for settleFor on who leads and on
// what is applied, on the paths that the cluster began with; and the leaders
// that it saw on the way.
func (s *side) settle(ctx context.Context) (leaders, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	seen, members := leaders{}, s.cluster.Members()
	var since time.Time
	var last view
	nudged, nudges := time.Now(), 0
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		answers := s.statuses(ctx, members)
		seen.note(answers)
		v, ok := agreed(members, answers)
		lacks := "the members do not agree"
		if !ok || v != last {
			since, last = time.Now(), v
		}
		if !ok && time.Since(nudged) >= nudgeEvery {
			put(ctx, s.clients[members[nudges%len(members)]], nudgeEvery, s.ledger, newKey(), 1) // the next one if it fails
			nudged, nudges = time.Now(), nudges+1
		}
		if ok && time.Since(since) >= settleFor {
			// Asked in the end only: it is the most work for the members.
			var now []string
			if s.paths != nil {
				now = s.pathsNow(ctx)
			}
			if s.paths == nil || subset(now, s.paths) {
				s.view = v
				return seen, nil
			}
			since, lacks = time.Now(), fmt.Sprintf("its paths are %v and were %v", now, s.paths)
		}
		select {
		case <-ctx.Done():
			return seen, fmt.Errorf("%s did not settle within %v (%s): %w: see whether the machine is overloaded", s.name, settleTimeout, lacks, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// firstPaths waits until paths other than rafthttp have stayed as they are for
// settleFor, then takes what there is: a better fabric comes after a first one.
func (s *side) firstPaths(ctx context.Context) {
	if s.name != DVSide {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pathsTimeout)
	defer cancel()
	since := time.Now()
	for ctx.Err() == nil && (len(s.paths) == 0 || slices.Contains(s.paths, rafthttp) || time.Since(since) < settleFor) {
		if now := s.pathsNow(ctx); now != nil && !slices.Equal(now, s.paths) {
			s.paths, since = now, time.Now()
		}
		pause(ctx, pollEvery)
	}
}

// pathsNow says what the members' messages travel on; nil if one does not say.
func (s *side) pathsNow(ctx context.Context) []string {
	all := map[string]bool{}
	for _, m := range s.cluster.Members() {
		states, err := m.States(ctx)
		if err != nil {
			return nil
		}
		if len(states) == 0 {
			all[rafthttp] = true
		}
		for _, st := range states {
			for _, p := range st.Peers {
				all[p.Path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func subset(a, b []string) bool {
	return a != nil && !slices.ContainsFunc(a, func(x string) bool { return !slices.Contains(b, x) })
}

func (s *side) pathNames() string { return strings.Join(s.paths, ",") }

// verify reads everything back from every member.
func (s *side) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	for _, m := range s.cluster.Members() {
		if err := s.ledger.Verify(ctx, s.clients[m]); err != nil {
			return fmt.Errorf("%s, through %s: %w", s.name, m.Name, err)
		}
	}
	return nil
}
