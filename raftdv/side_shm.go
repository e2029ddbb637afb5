package raftdv

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/shm"
)

// shmSide is the shared memory of a transport: members of one host and user
// meet in it.
//
// It is used under TLS as well. The memory has no name, is handed to the one
// process that proves to know the key of the control streams, and can be read
// by nobody who could not read the members' own memory.
type shmSide struct {
	*shm.Port
	mine offer
}

func openShm(t *Transport, h fabric.Handler) (*shmSide, error) {
	host := shm.HostID()
	if host == "" {
		return nil, shm.ErrUnsupported
	}
	port, err := shm.New(shm.Config{
		Self: t.member(), Incarnation: t.incarnation, Dir: t.cfg.ShmDir,
		TicketTimeout: t.cfg.TicketTimeout, Spin: t.cfg.Spin, RowInterval: rowInterval,
	}, h)
	if err != nil {
		return nil, err
	}
	return &shmSide{port, offer{
		Addr: port.Socket(), Host: host, User: os.Getuid(), MaxFrame: port.Capabilities().MaxFrame,
	}}, nil
}

func (s *shmSide) address() string { return s.Socket() }

// given: without a directory that was given there is no shared memory.
func (s *shmSide) given() bool { return true }

func (s *shmSide) offer() offer { return s.mine }

func (s *shmSide) connect(p *peer, theirs offer, with *controlStream, keys sideKeys) error {
	switch {
	case theirs.Host != s.mine.Host:
		return errElsewhere
	case theirs.User != s.mine.User:
		return fmt.Errorf("the peer runs as user %d, this member as user %d: run both as one user, or leave shm out", theirs.User, s.mine.User)
	case filepath.Dir(theirs.Addr) != filepath.Dir(s.mine.Addr): // a peer does not send this member to sockets elsewhere
		return fmt.Errorf("the peer is met in %q, this member in %q: give both the same --dv-shm-dir", filepath.Dir(theirs.Addr), filepath.Dir(s.mine.Addr))
	case theirs.MaxFrame < s.mine.MaxFrame:
		return fmt.Errorf("the peer takes frames of at most %d bytes, this member sends up to %d", theirs.MaxFrame, s.mine.MaxFrame)
	}
	key := keys.recv
	if p.t.member() < p.member {
		key = keys.send
	}
	return s.Connect(p.member, shm.Session{PeerIncarnation: with.theirs.Incarnation, Socket: theirs.Addr, Key: key})
}
