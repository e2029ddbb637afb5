package failover

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

// What is posted is a vote as rafthttp would send it, that ignores leases.
func TestCampaignerPosts(t *testing.T) {
	var got raftpb.Message
	var header http.Header
	status := http.StatusNoContent
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/raft" || proto.Unmarshal(body, &got) != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		header = r.Header
		w.WriteHeader(status)
	}))
	defer srv.Close()
	c := &campaigner{id: 0xa1, cluster: 0xc1, peerURL: "http://127.0.0.1:1", last: 9, http: srv.Client()}
	m := c.vote(0xb2, nil)
	if err := c.post(t.Context(), srv.URL, m); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&got, m) || got.GetType() != raftpb.MsgVote || got.GetTerm() != 9 || string(got.GetContext()) != "CampaignTransfer" || got.GetFrom() != 0xa1 || got.GetTo() != 0xb2 {
		t.Errorf("%v", &got)
	}
	if header.Get("X-Server-From") != "a1" || header.Get("X-Etcd-Cluster-ID") != "c1" || header.Get("X-PeerURLs") != c.peerURL {
		t.Errorf("%v", header)
	}
	status = http.StatusPreconditionFailed
	if err := c.post(t.Context(), srv.URL, m); err == nil {
		t.Error("a refusal is no error")
	}
}

// On stock etcd the attack must work, or it shows nothing: the terms rise
// and hardly anything is written.
func TestAttackDeposesStock(t *testing.T) {
	p := programs(t)
	n, _, err := attack(t.Context(), AttackConfig{Programs: p, Duration: 4 * time.Second}.withDefaults(), StockSide)
	if err != nil {
		t.Fatal(err)
	}
	if n.Terms < 10 || n.DuringPS > n.BeforePS/2 || n.LongestGapMs < 100 || n.Sent == 0 || n.Refused == 2*n.Sent {
		t.Errorf("%+v", n)
	}
	empty(t, p.Dir)
}

// Both tables come from both sides.
func TestRunAttack(t *testing.T) {
	p := programs(t)
	var got []AttackResult
	if err := RunAttack(t.Context(), AttackConfig{Programs: p, Duration: time.Second}, func(r AttackResult) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Stock.Sent == 0 || got[0].DV.Sent == 0 || got[0].DV.Writes == 0 || got[0].Paths == "" {
		t.Errorf("%+v", got)
	}
	empty(t, p.Dir)
}

func TestRunQuiet(t *testing.T) {
	p := programs(t)
	for _, throttle := range []int{0, 50} {
		var got []QuietResult
		if err := RunQuiet(t.Context(), QuietConfig{Programs: p, Writers: 4, Duration: 2 * time.Second, Throttle: throttle}, func(r QuietResult) { got = append(got, r) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Skipped == "" && (got[0].Stock.Writes == 0 || got[0].DV.Writes == 0 || got[0].Neighbours == 0) {
			t.Errorf("%+v", got)
		}
		empty(t, p.Dir)
	}
}

// The control: a change of leader in the middle of it is counted.
func TestWatchSeesChange(t *testing.T) {
	p := programs(t)
	s, err := openSide(t.Context(), StockSide, p, 3, signals{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	moved := make(chan error, 1)
	go func() {
		to := s.statuses(t.Context(), s.others(s.view.leader))[0]
		if to == nil {
			moved <- errors.New("no answer")
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.clients[s.view.leader].MoveLeader(ctx, to.Header.MemberId)
		moved <- err
	}()
	n := s.watchLoad(t.Context(), QuietConfig{Writers: 2, Duration: 3 * time.Second}.withDefaults())
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	if n.Changes != 1 || n.Terms != 1 {
		t.Errorf("a leader was moved: %+v", n)
	}
}
