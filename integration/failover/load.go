package failover

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/ledger"
)

const (
	// writeTimeout bounds each try of a writer: without a leader a put waits, and
	// one that went to a dead leader waits in vain.
	writeTimeout = 100 * time.Millisecond
	// slots are the keys that a writer goes round in.
	slots = 64
	// probeEvery is how often one of the members that are left is asked to write
	// after the fault, which is the resolution of what is measured; each of these
	// puts is given up after probeTimeout, and at most maxProbes wait.
	probeEvery   = 2 * time.Millisecond
	probeTimeout = 40 * time.Millisecond
	maxProbes    = 32
)

// prefix starts every key of a measurement.
const prefix = "failover/"

// keyNumber makes the keys of one process differ.
var keyNumber atomic.Uint64

func newKey() string { return fmt.Sprintf("%s%012d", prefix, keyNumber.Add(1)) }

// An ack is an acknowledged write.
type ack struct {
	begun, done time.Time
	term        uint64
}

// A writers is a load: goroutines that write one value after the other.
type writers struct {
	ledger *ledger.Ledger
	acked  func(ack) // may be called by several goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startWriters lets n writers write through kvs in turn.
func startWriters(ctx context.Context, n int, kvs []clientv3.KV, timeout time.Duration, l *ledger.Ledger, acked func(ack)) *writers {
	ctx, cancel := context.WithCancel(ctx)
	w := &writers{ledger: l, acked: acked, cancel: cancel}
	for i := range n {
		w.wg.Go(func() { w.write(ctx, kvs[i%len(kvs)], timeout) })
	}
	return w
}

func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *writers) write(ctx context.Context, kv clientv3.KV, timeout time.Duration) {
	keys := make([]string, slots)
	for i := range keys {
		keys[i] = newKey()
	}
	for number := uint64(1); ctx.Err() == nil; number++ {
		key := &keys[number%slots]
		if a, ok := put(ctx, kv, timeout, w.ledger, *key, number); ok {
			w.acked(a)
		} else {
			*key = newKey()
			pause(ctx, probeEvery) // a member that is gone answers at once
		}
	}
}

// A trialLoad is the load of a trial: its writers count for first as soon as
// there is one.
type trialLoad struct {
	*writers
	count atomic.Uint64
	first atomic.Pointer[first]
}

// startLoad lets n writers write through the members that do not lead: a client
// of the leader would measure how it learns that it is gone.
func (s *side) startLoad(ctx context.Context, n int) *trialLoad {
	l := &trialLoad{}
	l.writers = startWriters(ctx, n, s.kvs(s.others(s.view.leader)), writeTimeout, s.ledger, func(a ack) {
		l.count.Add(1)
		if f := l.first.Load(); f != nil {
			f.add(a)
		}
	})
	return l
}

func (l *trialLoad) to(f *first) { l.first.Store(f) }

// warm lets it write for d, and reports whether anything was acknowledged.
func (l *trialLoad) warm(ctx context.Context, d time.Duration) bool {
	pause(ctx, d)
	return l.count.Load() > 0
}

// put writes once.
func put(ctx context.Context, kv clientv3.KV, timeout time.Duration, l *ledger.Ledger, key string, number uint64) (ack, bool) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begun := time.Now()
	resp, err := l.Put(ctx, kv, key, number)
	if err != nil {
		return ack{}, false
	}
	return ack{begun, time.Now(), resp.Header.RaftTerm}, true
}

// probe begins a put every probeEvery, at one of kvs after the other, until ctx
// ends: at each of them at once, five members would be busy with nothing else.
func probe(ctx context.Context, kvs []clientv3.KV, l *ledger.Ledger, acked func(ack)) {
	var puts sync.WaitGroup
	defer puts.Wait()
	free := make(chan struct{}, maxProbes)
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for i := 0; ; i++ {
		kv := kvs[i%len(kvs)]
		select {
		case free <- struct{}{}:
			puts.Go(func() {
				defer func() { <-free }()
				if a, ok := put(ctx, kv, probeTimeout, l, newKey(), 1); ok {
					acked(a)
				}
			})
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// first keeps the earliest write that counts: begun after the fault, in a later
// term.
type first struct {
	mu    sync.Mutex
	since time.Time
	term  uint64
	at    time.Time
	found chan struct{} // closed when there is one
}

func newFirst(since time.Time, term uint64) *first {
	return &first{since: since, term: term, found: make(chan struct{})}
}

func (f *first) add(a ack) {
	if a.begun.Before(f.since) || a.term <= f.term {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.IsZero() {
		close(f.found)
	}
	if f.at.IsZero() || a.done.Before(f.at) {
		f.at = a.done
	}
}

// took is how long after the fault it was acknowledged.
func (f *first) took() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at.Sub(f.since), !f.at.IsZero()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
