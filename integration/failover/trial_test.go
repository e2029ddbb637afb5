package failover

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/internal/needs"
)

func trialOf(p Programs, side, fault string) TrialConfig {
	return TrialConfig{Programs: p, Side: side, Members: 3, Fault: fault, Heartbeat: 100 * time.Millisecond, Election: time.Second, PreVote: true,
		WarmUp: time.Second, Duration: 4 * time.Second, Rate: 100, Seed: 1}
}

// TestRunTrial: real clusters, a crash on loopback and a cut in namespaces.
func TestRunTrial(t *testing.T) {
	p := programs(t)
	for _, c := range []struct{ side, fault string }{{StockSide, "crash-leader"}, {DVSide, "simplex-leader"}} {
		t.Run(c.side+" "+c.fault, func(t *testing.T) {
			r, err := RunTrial(t.Context(), trialOf(p, c.side, c.fault))
			if errors.Is(err, ErrNotHere) {
				needs.Refused(t, err.Error(), needs.Bridges()...)
			}
			if err != nil {
				t.Fatal(err)
			}
			empty(t, p.Dir)
			t.Logf("%+v", r)
			if r.Elections < 1 || r.Terms < 1 || r.TimeToLeader <= 0 || r.TimeToLeader > 4*time.Second || r.Unavailable <= 0 || r.Acked == 0 || !r.Led {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestTrialValidate(t *testing.T) {
	c := trialOf(Programs{Stock: "/no/stock", DV: "/no/dv"}, "neither", "nonsense")
	c.Members, c.Heartbeat, c.Rate, c.Duration = 10, 1500*time.Microsecond, 0, time.Hour
	err := c.Validate()
	for _, want := range []string{"/no/stock", "/no/dv", `side "neither"`, `fault "nonsense"`, "10 members", "whole milliseconds", "0 writes", "1h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	c = trialOf(Programs{Stock: "/bin/true", DV: "/bin/true"}, StockSide, "chained")
	if c.Members = 2; c.Validate() == nil {
		t.Error("two members are chained")
	}
}

// TestWatcher: leaders of later terms count, each once, and who said so last.
func TestWatcher(t *testing.T) {
	w := newWatcher(&side{view: view{term: 3}})
	a, b := &cluster.Member{}, &cluster.Member{}
	begin := time.Now()
	say := func(m *cluster.Member, self, term, leader uint64, after time.Duration) {
		st := &clientv3.StatusResponse{Header: &etcdserverpb.ResponseHeader{MemberId: self}, Leader: leader, RaftTerm: term}
		w.note(m, st, true, begin.Add(after))
	}
	say(a, 1, 3, 1, time.Second) // the old one
	if n, terms, took, led := w.result(begin); n != 0 || terms != 0 || took != -1 || !led {
		t.Errorf("before: %d, %d, %v, %v", n, terms, took, led)
	}
	say(b, 2, 4, 0, 2*time.Second) // a campaign
	say(b, 2, 5, 2, 3*time.Second)
	say(a, 1, 5, 2, 4*time.Second)
	if n, terms, took, led := w.result(begin); n != 1 || terms != 2 || took != 3*time.Second || !led {
		t.Errorf("after: %d, %d, %v, %v", n, terms, took, led)
	}
	w.note(b, nil, false, begin.Add(5*time.Second))
	if _, _, _, led := w.result(begin); led {
		t.Error("who leads does not answer")
	}
}
