package raftdv

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// Advance is called when Deadline has come, also when an input has moved the deadline
// to an earlier time than the one that the loop sleeps for.
func TestDeadlineThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := &Transport{ID: types.ID(2), started: time.Now(), ctx: ctx, cancel: cancel, lg: zap.NewNop()}
		tr.peers.Store(&map[types.ID]*peer{1: {}, 3: {}})
		members := election.Members{Voters: []fabric.MemberID{1, 2, 3}}
		tr.cfg = Config{ElectionTimeout: time.Second, Elections: election.On, Members: func() election.Members { return members }, PreVote: true, CheckQuorum: true,
			Position: func() (term, lastTerm, lastIndex uint64) { return 5, 5, 10 }}.withDefaults()
		tr.metrics = newTransportMetrics(tr)
		defer tr.metrics.close()
		e := &tr.elections
		if err := e.init(tr); err != nil {
			t.Fatal(err)
		}
		e.refresh()
		e.input(func(a *election.Arbiter, now time.Duration) {
			a.Up(now, 1)
			a.Up(now, 3)
		})
		tr.wg.Go(e.run)
		heartbeat := func() {
			from, to, term, typ := uint64(1), uint64(2), uint64(5), raftpb.MsgHeartbeat
			e.receive(&raftpb.Message{Type: &typ, From: &from, To: &to, Term: &term})
		}
		for range 200 { // past the first five Patiences
			heartbeat()
			time.Sleep(time.Millisecond)
		}
		late := time.Duration(0)
		deadline := func() (at, now time.Duration) {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.arbiter.Deadline(), time.Since(tr.started)
		}
		e.input(func(a *election.Arbiter, now time.Duration) { a.Down(now, 1) })
		for range 200 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if at, now := deadline(); now > at {
				late = max(late, now-at)
			}
		}
		cancel()
		tr.wg.Wait()
		if late > time.Millisecond {
			t.Errorf("Advance comes %v after Deadline", late)
		}
	})
}
