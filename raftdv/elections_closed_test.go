package raftdv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/stream"
	"github.com/raftdv/dv/internal/needs"
	"github.com/raftdv/dv/raftdv/election"
)

// What counts as the peer's own end of a connection.
func TestIsClosed(t *testing.T) {
	end := func(err error) error { return &stream.EndError{Peer: 1, Direction: stream.Receiving, Err: err} }
	for err, want := range map[error]bool{
		stream.ErrHungUp: true, syscall.ECONNRESET: true, syscall.EPIPE: true, syscall.ETIMEDOUT: false,
		stream.ErrReplaced: false, stream.ErrRestarted: false, stream.ErrSilent: false, stream.ErrRemoved: false, fabric.ErrClosed: false,
		stream.ErrForgedAck: false, fabric.ErrTimeout: false,
	} {
		if got := isClosed(end(err)); got != want {
			t.Errorf("%v: closed by the peer %v", err, got)
		}
	}
}

// What a dial says of a peer whose side closed the stream.
func TestIsDeath(t *testing.T) {
	dial := func(err error) error { return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: err}) }
	for _, c := range []struct {
		err  error
		want bool
	}{
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), true},
		{dial(os.NewSyscallError("connect", syscall.ENOENT)), true}, // a socket of the file system
		{dial(os.NewSyscallError("read", syscall.ECONNRESET)), true},
		{fmt.Errorf("dial: %w", io.EOF), true}, // a proxy that nobody answers
		{&answerError{errors.New("502 Bad Gateway")}, true},
		{&answerError{ErrNotDV}, true}, // another program has started there
		{&answerError{fmt.Errorf("%w: dial again", errConnected)}, false},
		{&answerError{ErrMemberRemoved}, false},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), false},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), false}, // the way there is gone
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), false},
		{dial(os.ErrDeadlineExceeded), false},
		{context.Canceled, false},
	} {
		if got := isDeath(c.err); got != c.want {
			t.Errorf("%v: death %v", c.err, got)
		}
	}
}

func TestDoubt(t *testing.T) {
	var d doubt
	refused := syscall.ECONNREFUSED
	if d.answered(1) {
		t.Error("a first life ended another one")
	}
	if d.over(); d.failed(refused) {
		t.Error("a stream that this member ended puts the peer in doubt")
	}
	d.closed.Store(true)
	if d.over(); d.failed(syscall.ETIMEDOUT) {
		t.Error("no answer is a death")
	}
	if !d.failed(refused) || d.failed(refused) {
		t.Error("the dial after that: want one death")
	}
	d.closed.Store(true)
	if d.over(); d.answered(1) || d.failed(refused) {
		t.Error("the same life answered, and is dead")
	}
	if !d.answered(2) || d.answered(2) {
		t.Error("another life answered: want one death")
	}
}

// Who closes connections to a leader does not depose it, and who ends a leader
// does (TestLeaderEnds).
func TestClosedConnectionsDeposeNobody(t *testing.T) {
	needs.Pace(t, inTime, func() []string { return closeConnections(t, func(*raftNode, *raftNode) {}) })
}

// The control: were each closed connection a death, the leader would be deposed.
func TestDeathsByConnectionDepose(t *testing.T) {
	if deposed := closeConnections(t, func(r, leader *raftNode) { r.dv.elections.gone(fabric.MemberID(leader.id)) }); len(deposed) == 0 {
		t.Error("a leader whom all others take for dead still leads")
	}
}

// closeConnections closes all that the others dialled to the leader, and says
// which elections that brought.
func closeConnections(t *testing.T, also func(r, leader *raftNode)) (wrong []string) {
	rafts := startRafts(t, 3, election.On)
	defer func() {
		for _, r := range rafts {
			r.end()
		}
	}()
	leader := leaderOf(t, rafts)
	arbitrated(t, rafts)
	rest := others(rafts, leader)
	term := leader.status().GetTerm()
	before := LastEvent()
	var lost []<-chan struct{}
	for _, r := range rest {
		p := r.dv.peer(leader.id)
		p.mu.Lock()
		lost = append(lost, p.inDone)
		p.mu.Unlock()
	}
	leader.conns.cut()
	for i, r := range rest {
		also(r, leader)
		eventually(t, fmt.Sprintf("member %s has lost its stream, and has one again", r.id), func() bool {
			return !open(lost[i]) && r.dv.peer(leader.id).dialled()
		})
	}
	arbitrated(t, rafts)
	events, _, _ := EventsAfter(before)
	for _, v := range events {
		if v.Election != nil && (v.Election.Kind == election.EventSuspected.String() || v.Election.Kind == election.EventRound.String()) {
			wrong = append(wrong, fmt.Sprintf("member %s: %s", v.Member, &v))
		}
	}
	if now := leaderOf(t, rafts); now != leader || now.status().GetTerm() != term {
		wrong = append(wrong, fmt.Sprintf("%s leads term %d, after %s in %d", now.id, now.status().GetTerm(), leader.id, term))
	}
	return wrong
}

// forwarder is a proxy in front of one of several servers.
type forwarder struct {
	net.Listener
	to atomic.Pointer[string]
	wg sync.WaitGroup
}

func newForwarder(t *testing.T) *forwarder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{Listener: l}
	f.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.forward(in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.wg.Wait()
	})
	return f
}

func (f *forwarder) forward(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", *f.to.Load())
	if err != nil {
		return
	}
	defer out.Close()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(in, out)
		in.Close()
	})
	io.Copy(out, in)
	out.Close()
	back.Wait()
}

// The leader behind a proxy, which accepts connections for a program that is
// gone; and one that another life follows at once.
func TestEndBehindProxy(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("again=%v", again), func(t *testing.T) {
			f := newForwarder(t)
			first := lonely(t, election.On)
			start := func() *node {
				n := newNode(t, 2, nodeOptions{})
				n.start(t, nodeOptions{config: Config{Elections: election.On, Members: votersOf(1, 2, 3), PreVote: true, CheckQuorum: true}})
				t.Cleanup(n.stop)
				n.tr.AddPeer(1, []string{first.url})
				return n
			}
			to := func(n *node) { f.to.Store(new(n.listener.Addr().String())) }
			second := start()
			to(second)
			first.tr.UpdatePeer(2, []string{"http://" + f.Addr().String()})
			onPath(t, FabricUDP, first, second)
			lead(t, &first.dv.elections)
			before := LastEvent()
			if again {
				to(start())
			}
			second.stop()
			eventually(t, "member 1 takes 2 for dead", func() bool {
				first.dv.elections.receive(beatMsg(2, 1, 5)) // it is not silent
				events, _, _ := EventsAfter(before)
				return slices.ContainsFunc(events, func(v Event) bool {
					return v.Member == first.id.String() && v.Peer == "2" && v.Election != nil && v.Election.Kind == "suspected" && v.Election.Reason == "closed"
				})
			})
		})
	}
}
