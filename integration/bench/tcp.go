package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// readBuffer is what a receiver reads at once.
const readBuffer = maxBatch // the largest batch

// tcpSystem is what a careful person writes on net.Conn: batches in one write
// each, Nagle's algorithm off (as it is by default), a buffered reader that
// decodes in place. Under TLS 1.3 both ends show certificates.
func tcpSystem() *system {
	return besideSystem(PortTCP, func(p memberParams) (network, error) {
		n := &tcpNetwork{conns: map[net.Conn]bool{}}
		var err error
		n.client, n.server, err = p.tlsConfigs()
		return n, err
	})
}

// tlsConfigs are nil without TLS.
func (p memberParams) tlsConfigs() (client, server *tls.Config, err error) {
	if p.tls.Empty() {
		return nil, nil, nil
	}
	if client, err = p.tls.ClientConfig(); err != nil {
		return nil, nil, fmt.Errorf("TLS for dialling: %w", err)
	}
	if server, err = p.tls.ServerConfig(); err != nil {
		return nil, nil, fmt.Errorf("TLS for listening: %w", err)
	}
	return client, server, nil
}

type tcpNetwork struct {
	client, server *tls.Config // nil without TLS
	l              net.Listener
	wg             sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool // accepted
}

func (n *tcpNetwork) limit() int { return maxBatch }

func (n *tcpNetwork) listen(t *beside) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.l = l
	if n.server != nil {
		n.l = tls.NewListener(l, n.server)
	}
	n.wg.Go(func() { n.accept(t) })
	return l.Addr().String(), nil
}

func (n *tcpNetwork) accept(t *beside) {
	for {
		c, err := n.l.Accept()
		if err != nil {
			return // closed: nothing else ends a listener on loopback
		}
		if !n.keep(c) {
			c.Close()
			return
		}
		n.wg.Go(func() {
			defer n.drop(c)
			if s, ok := c.(*tls.Conn); ok && s.HandshakeContext(t.ctx) != nil {
				return
			}
			t.in.Add(1)
			defer t.in.Add(-1)
			n.read(t, c)
		})
	}
}

// keep remembers c; false after close.
func (n *tcpNetwork) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.conns[c] = true
	}
	return !n.closed
}

func (n *tcpNetwork) drop(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	c.Close()
}

// read hands over messages until the connection ends; what ends it shows at the
// sender.
func (n *tcpNetwork) read(t *beside, c net.Conn) {
	r := bufio.NewReaderSize(c, readBuffer)
	for {
		m, err := readMessage(r)
		if err != nil || t.raft.Process(t.ctx, m) != nil {
			return
		}
	}
}

// readMessage decodes in r's buffer what fits there.
func readMessage(r *bufio.Reader) (*raftpb.Message, error) {
	prefix, err := r.Peek(prefixLen)
	if err != nil {
		return nil, err
	}
	n := messageLen(prefix)
	if n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes was announced: more than %d", n, maxMessage)
	}
	r.Discard(prefixLen)
	if n > r.Size() {
		large := make([]byte, n)
		if _, err := io.ReadFull(r, large); err != nil {
			return nil, err
		}
		return decodeMessage(large)
	}
	b, err := r.Peek(n)
	if err != nil {
		return nil, err
	}
	m, err := decodeMessage(b)
	r.Discard(n)
	return m, err
}

func (n *tcpNetwork) dial(ctx context.Context, addr string) (carrier, error) {
	var dialer interface {
		DialContext(context.Context, string, string) (net.Conn, error)
	} = &net.Dialer{Timeout: dialTimeout}
	if n.client != nil {
		dialer = &tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: n.client}
	}
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// A write must not outlive the transport.
	return tcpCarrier{c, context.AfterFunc(ctx, func() { c.Close() })}, nil
}

func (n *tcpNetwork) close() {
	n.mu.Lock()
	n.closed = true
	for c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	if n.l != nil {
		n.l.Close()
	}
	n.wg.Wait()
}

type tcpCarrier struct {
	net.Conn
	unwatch func() bool
}

func (c tcpCarrier) send(batch []byte) error {
	_, err := c.Write(batch)
	return err
}

func (c tcpCarrier) close() {
	c.unwatch()
	c.Close()
}
