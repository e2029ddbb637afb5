package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"
)

// What somebody would write who does not use rafthttp: these systems exist to
// be compared with, and nothing but this package uses them.
const (
	// PortGRPC sends over one gRPC stream for each peer and direction (grpc.go).
	PortGRPC = "grpc"
	// PortTCP sends over one TCP connection for each peer and direction (tcp.go).
	PortTCP = "tcp"
	// PortRawUDP sends datagrams and hopes (rawudp.go).
	PortRawUDP = "rawudp"
)

const (
	// outboxLen bounds the messages that wait for one peer, as rafthttp's
	// streams do.
	outboxLen = 4096
	// redialPause is the pause after a connection that failed.
	redialPause = 50 * time.Millisecond
	// maxBatch is how many bytes a batch may have before it is sent, whatever
	// still waits: more than a window of entries has by default. With 64 KiB gRPC
	// came out slower.
	maxBatch = 256 << 10
)

// A carrier takes batches of encoded messages to one peer. The batch is the
// caller's again when send returns.
type carrier interface {
	send(batch []byte) error
	close()
}

// beside is what the systems have in common, so that they are compared by what
// carries the bytes: Send puts each message into its peer's outbox and never
// blocks; a goroutine for each peer encodes what waits there into one batch and
// gives it to the carrier.
//
// What they all lack, and rafthttp and the ports have: they do not ask who a
// peer is nor whether it belongs to the cluster, they have one queue for
// everything, a message that was accepted and then lost is reported to nobody,
// and there are no snapshots, pauses and metrics.
type beside struct {
	notMeasured
	id   types.ID
	raft rafthttp.Raft
	book *book
	net  network

	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.RWMutex
	peers   map[types.ID]*outbox
	dropped atomic.Uint64 // for want of room
	in, out atomic.Int64  // connections that are up
}

// network is how one member of a system reaches the others.
type network interface {
	// listen starts to serve and returns where.
	listen(t *beside) (addr string, err error)
	// dial returns when the connection can be used.
	dial(ctx context.Context, addr string) (carrier, error)
	// limit is how many bytes a batch of more than one message may have.
	limit() int
	// close ends what listen began and waits for it.
	close()
}

// book knows where the members of one group listen: each is entered when it is
// opened, which is before any is told of peers.
type book struct {
	mu    sync.Mutex
	addrs map[types.ID]string
}

func besideSystem(name string, makeNetwork func(memberParams) (network, error)) *system {
	b := &book{addrs: map[types.ID]string{}}
	return &system{
		name:  name,
		ready: besideReady,
		open: func(p memberParams) (rafthttp.Transporter, error) {
			n, err := makeNetwork(p)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithCancel(context.Background())
			return &beside{id: p.id, raft: p.raft, book: b, net: n, ctx: ctx, cancel: cancel, peers: map[types.ID]*outbox{}}, nil
		},
		troubles: func(m *member) string {
			if n := m.own().(*beside).dropped.Load(); n > 0 {
				return fmt.Sprintf("%d dropped: the queue was full", n)
			}
			return ""
		},
	}
}

// besideReady: this member is connected to all peers and all are to it.
func besideReady(m *member) error {
	t := m.own().(*beside)
	if in, out, n := t.in.Load(), t.out.Load(), int64(m.peers); in != n || out != n {
		return fmt.Errorf("%d of %d connections lead to peers and %d here", out, n, in)
	}
	return nil
}

func (t *beside) Start() error {
	addr, err := t.net.listen(t)
	if err != nil {
		return err
	}
	t.book.mu.Lock()
	defer t.book.mu.Unlock()
	t.book.addrs[t.id] = addr
	return nil
}

func (t *beside) Stop() {
	t.cancel()
	t.wg.Wait()
	t.net.close()
}

func (t *beside) AddPeer(id types.ID, _ []string) {
	t.book.mu.Lock()
	addr := t.book.addrs[id]
	t.book.mu.Unlock()
	o := &outbox{t: t, to: id, addr: addr, queue: make(chan *raftpb.Message, outboxLen)}
	t.mu.Lock()
	t.peers[id] = o
	t.mu.Unlock()
	t.wg.Go(o.run)
}

func (t *beside) ActivePeers() int { return int(t.out.Load()) }

func (t *beside) Send(msgs []*raftpb.Message) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, m := range msgs {
		o := t.peers[types.ID(m.GetTo())]
		if o == nil {
			continue // as rafthttp does with strangers and with 0
		}
		select {
		case o.queue <- m:
		default:
			t.dropped.Add(1)
			t.raft.ReportUnreachable(m.GetTo())
		}
	}
}

// outbox is what waits for one peer. Its goroutine owns everything but queue.
type outbox struct {
	t     *beside
	to    types.ID
	addr  string
	queue chan *raftpb.Message
	batch []byte
}

// run keeps a connection.
func (o *outbox) run() {
	for o.t.ctx.Err() == nil {
		c, err := o.t.net.dial(o.t.ctx, o.addr)
		if err == nil {
			o.t.out.Add(1)
			err = o.deliver(c)
			o.t.out.Add(-1)
			c.close()
		}
		if err != nil && o.t.ctx.Err() == nil {
			o.t.raft.ReportUnreachable(uint64(o.to))
		}
		select {
		case <-o.t.ctx.Done():
		case <-time.After(redialPause):
		}
	}
}

// deliver sends what waits until the connection fails or the transport stops.
func (o *outbox) deliver(c carrier) error {
	for {
		select {
		case <-o.t.ctx.Done():
			return nil
		case m := <-o.queue:
			if err := o.flush(c, m); err != nil {
				return err
			}
		}
	}
}

// flush sends m and all that waits behind it, in as few batches as go.
func (o *outbox) flush(c carrier, m *raftpb.Message) (err error) {
	o.batch = o.batch[:0]
	for more := true; more; {
		before := len(o.batch)
		if o.batch, err = appendMessage(o.batch, m); err != nil {
			return err
		}
		if len(o.batch) > o.t.net.limit() && before > 0 {
			if err := c.send(o.batch[:before]); err != nil {
				return err
			}
			o.batch = append(o.batch[:0], o.batch[before:]...)
		}
		select {
		case m = <-o.queue:
		default:
			more = false
		}
	}
	return c.send(o.batch)
}

// receive hands all messages of a batch to raft.
func (t *beside) receive(batch []byte) error {
	for len(batch) > 0 {
		m, rest, err := splitMessage(batch)
		if err != nil {
			return err
		}
		if err := t.raft.Process(t.ctx, m); err != nil {
			return err
		}
		batch = rest
	}
	return nil
}

var errBadBatch = errors.New("a batch does not end where its last message does")
