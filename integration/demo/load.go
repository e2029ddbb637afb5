package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/ledger"
)

const (
	writers    = 4
	putTimeout = 2 * time.Second

	// While there is no leader a put is tried every probeEvery, which is the
	// resolution of the recovery time; at most maxProbes wait at once, each
	// for no longer than it takes to begin as many.
	probeEvery   = 10 * time.Millisecond
	maxProbes    = 100
	probeTimeout = maxProbes * probeEvery
	maxRecovery  = time.Minute
)

// prefix starts every key of the demo.
const prefix = "demo/"

// load writes keys that are unique to phase from several writers until ctx
// ends.
func load(ctx context.Context, kv clientv3.KV, l *ledger.Ledger, phase string) {
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%s%s/%d/%06d", prefix, phase, w, i)
				put(ctx, kv, l, key, putTimeout)
			}
		})
	}
	wg.Wait()
}

// put reports whether the cluster acknowledged the key.
func put(ctx context.Context, kv clientv3.KV, l *ledger.Ledger, key string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := l.Put(ctx, kv, key, 1)
	return err == nil
}

// recovery returns how long after since the first put is acknowledged that
// was begun after it.
func recovery(ctx context.Context, kv clientv3.KV, l *ledger.Ledger, since time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, maxRecovery)
	first := make(chan time.Time, 1)
	slots := make(chan struct{}, maxProbes)
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				if put(ctx, kv, l, fmt.Sprintf("%sprobe/%06d", prefix, i), probeTimeout) {
					select {
					case first <- time.Now():
					default:
					}
				}
			})
		default:
		}
		select {
		case at := <-first:
			return at.Sub(since), nil
		case <-ctx.Done():
			return 0, fmt.Errorf("no write was acknowledged within %v: %w", time.Since(since).Round(time.Millisecond), context.Cause(ctx))
		case <-t.C:
		}
	}
}
