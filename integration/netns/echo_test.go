package netns

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/integration/guard"
	"github.com/raftdv/dv/internal/needs"
)

// answerTime is how long an answer of another namespace may take.
const answerTime = 300 * time.Millisecond

// echoes answer datagrams in the namespace of each member.
type echoes struct {
	conns   []*net.UDPConn
	answers []chan byte // to each member, the number of what is answered
}

// links makes a network that ends with the test.
func links(t *testing.T, members int) *Links {
	t.Helper()
	l, err := NewLinks(t.Context(), members)
	if errors.Is(err, guard.ErrNotHere) {
		needs.Refused(t, err.Error(), needs.Bridges()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// newEchoes starts them; they end with the test.
func newEchoes(t *testing.T, l *Links) *echoes {
	t.Helper()
	e := &echoes{}
	for i, m := range l.members {
		c := listenIn(t, m, &net.UDPAddr{IP: net.ParseIP(Host(i)), Port: 7})
		done := make(chan struct{})
		t.Cleanup(func() { c.Close(); <-done })
		answers := make(chan byte, 100)
		e.conns, e.answers = append(e.conns, c), append(e.answers, answers)
		go func() {
			defer close(done)
			var buf [1000]byte
			for {
				n, from, err := c.ReadFromUDP(buf[:])
				if err != nil {
					return
				}
				if buf[0] == 'a' {
					answers <- buf[1]
					continue
				}
				buf[0] = 'a'
				c.WriteToUDP(buf[:n], from)
			}
		}()
	}
	return e
}

// listenIn opens a socket in a namespace. It stays there, wherever its users run.
func listenIn(t *testing.T, ns *guard.Guard, at *net.UDPAddr) (c *net.UDPConn) {
	t.Helper()
	f, err := os.Open(path(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			c, err = net.ListenUDP("udp4", at)
		}
	}()
	if <-done; err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends so many bytes and reports whether they are answered.
func (e *echoes) ask(k Link, number byte, size int) bool {
	b := make([]byte, size)
	b[0], b[1] = 'q', number
	if _, err := e.conns[k.From].WriteToUDP(b, e.conns[k.To].LocalAddr().(*net.UDPAddr)); err != nil {
		return false
	}
	late := time.After(answerTime)
	for {
		select {
		case got := <-e.answers[k.From]:
			if got == number {
				return true
			}
		case <-late:
			return false
		}
	}
}
