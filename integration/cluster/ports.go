package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

const (
	// Ports are taken below the range that the kernel gives to outgoing
	// connections: a member that is down for a while finds its port free.
	lowPort, highPort = 11000, 31000
	portTries         = 2000
)

var taken struct {
	sync.Mutex
	ports map[int]bool
}

// freePort returns a port of 127.0.0.1 that is free for TCP and UDP and that
// this process has not handed out before.
func freePort() (int, error) {
	taken.Lock()
	defer taken.Unlock()
	if taken.ports == nil {
		taken.ports = map[int]bool{}
	}
	for range portTries {
		p := lowPort + rand.IntN(highPort-lowPort)
		if !taken.ports[p] && bindable(p) {
			taken.ports[p] = true
			return p, nil
		}
	}
	return 0, fmt.Errorf("no free port of 127.0.0.1 in %d-%d after %d tries", lowPort, highPort, portTries)
}

func releasePort(p int) {
	taken.Lock()
	defer taken.Unlock()
	delete(taken.ports, p)
}

func bindable(port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
