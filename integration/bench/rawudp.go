package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

const (
	// rawDatagram is the largest UDP datagram over IPv4.
	rawDatagram = 65_507
	// rawSocketBuffer is asked of the kernel for each direction, as the udp port
	// does; it may grant less.
	rawSocketBuffer = 2 << 20
	// rawMessage is the room that a MsgApp with one entry needs beside the
	// entry's data, generously.
	rawMessage = 256
)

// rawUDPSystem is a lower bound for what datagrams cost: batches in datagrams as
// large as loopback takes, and nothing else. What it
// lacks and a transport cannot do without: a lost datagram is lost and nobody
// hears of it, datagrams may come twice or in another order, nothing keeps a
// sender from being faster than its receiver, anybody may send, nothing is
// encrypted, and a message of more than 64 KiB cannot be sent at all.
func rawUDPSystem() *system {
	s := besideSystem(PortRawUDP, func(memberParams) (network, error) { return &rawNetwork{}, nil })
	s.lossy = true
	s.ready = rawReady
	return s
}

// rawReady: there is nothing to connect.
func rawReady(m *member) error {
	if n := m.tr.ActivePeers(); n != m.peers {
		return fmt.Errorf("%d of %d peers have an address", n, m.peers)
	}
	return nil
}

type rawNetwork struct {
	conn *net.UDPConn
	wg   sync.WaitGroup
}

func (n *rawNetwork) limit() int { return rawDatagram }

func (n *rawNetwork) listen(t *beside) (string, error) {
	var err error
	n.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return "", err
	}
	_ = n.conn.SetReadBuffer(rawSocketBuffer) // less will do
	n.wg.Go(func() { n.read(t) })
	return n.conn.LocalAddr().String(), nil
}

// read hands over messages. What cannot be read is as good as lost: the checks
// of the measurement see it.
func (n *rawNetwork) read(t *beside) {
	buf := make([]byte, rawDatagram+1)
	for {
		size, err := n.conn.Read(buf)
		if err != nil {
			return
		}
		_ = t.receive(buf[:size])
	}
}

// dial makes a socket that is connected to one peer: the kernel looks for the
// way once.
func (n *rawNetwork) dial(_ context.Context, addr string) (carrier, error) {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.UDPConn).SetWriteBuffer(rawSocketBuffer) // less will do
	return rawCarrier{c}, nil
}

func (n *rawNetwork) close() {
	if n.conn != nil {
		n.conn.Close()
	}
	n.wg.Wait()
}

type rawCarrier struct{ net.Conn }

func (c rawCarrier) send(batch []byte) error {
	if len(batch) > rawDatagram {
		return errTooLong
	}
	_, err := c.Write(batch)
	return err
}

func (c rawCarrier) close() { c.Close() }

var errTooLong = errors.New("a message does not fit into a datagram")
