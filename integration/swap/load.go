package swap

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
)

const (
	// keys are few, so that clients meet on them.
	keys = 10
	// opTimeout is short beside an election: a client that waits learns little.
	opTimeout = 2 * time.Second
)

func key(i int) string { return fmt.Sprintf("key%d", i) }

// A load is a set of clients that write and read until they are stopped.
type load struct {
	clock   clock
	streams atomic.Int64
	values  atomic.Int64
	clients []*clientv3.Client
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu  sync.Mutex
	ops [][]Op // of clients that have stopped

	acks atomic.Int64 // writes so far
}

// startLoad starts n clients that begin an operation every pace.
func startLoad(ctx context.Context, c *cluster.Cluster, n int, pace time.Duration) (*load, error) {
	l := &load{clock: clock{time.Now()}}
	ctx, l.stop = context.WithCancel(ctx)
	for range n {
		cli, err := c.Client()
		if err != nil {
			l.end()
			return nil, err
		}
		l.clients = append(l.clients, cli)
		// The first is a read: the checker wants to see the empty database.
		r := newRecorder(cli, l.clock, &l.streams, opTimeout)
		if _, err := r.get(ctx, key(0), ""); err != nil {
			l.end()
			return nil, err
		}
		l.wg.Go(func() { l.client(ctx, r, pace) })
	}
	return l, nil
}

func (l *load) client(ctx context.Context, r *recorder, pace time.Duration) {
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ops = append(l.ops, r.ops)
			return
		case <-t.C:
			l.step(r)
		}
	}
}

// step does one operation. It outlives the end of the load: an operation that
// is cut off teaches nothing.
func (l *load) step(r *recorder) {
	ctx := context.Background()
	k := key(rand.IntN(keys))
	var err error
	before := len(r.ops)
	switch rand.IntN(10) {
	case 0, 1, 2, 3:
		err = r.put(ctx, k, l.value())
	case 4, 5:
		_, err = r.get(ctx, k, "")
	case 6:
		_, err = r.get(ctx, key(0), clientv3.GetPrefixRangeEnd("key"))
	case 7:
		err = r.readAndWrite(ctx, key(rand.IntN(keys)), k, l.value())
	default:
		err = l.swap(ctx, r, k)
	}
	if err == nil && len(r.ops) > before {
		if _, wrote := r.ops[len(r.ops)-1].write(); wrote {
			l.acks.Add(1)
		}
	}
}

// swap reads a key and writes it unless somebody else did meanwhile.
func (l *load) swap(ctx context.Context, r *recorder, k string) error {
	kvs, err := r.get(ctx, k, "")
	if err != nil {
		return err
	}
	var revision int64
	if len(kvs) > 0 {
		revision = kvs[0].ModRevision
	}
	return r.swapIf(ctx, k, revision, l.value())
}

// value is written once.
func (l *load) value() string { return fmt.Sprintf("v%d", l.values.Add(1)) }

// end stops all clients and returns what they did.
func (l *load) end() [][]Op {
	l.stop()
	l.wg.Wait()
	for _, c := range l.clients {
		c.Close()
	}
	l.clients = nil
	return l.ops
}
