package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// prefix starts every key of the demo.
	prefix = "demo/"
	// pageSize keys are read at a time.
	pageSize = 1000
	// listedKeys of those that are lost are named in an error.
	listedKeys = 5
)

// ErrLost is returned when an acknowledged write cannot be read back.
var ErrLost = errors.New("acknowledged writes are lost")

// A ledger holds what was acknowledged: key and value, each key written once.
// It may be used by several goroutines.
type ledger struct {
	mu    sync.Mutex
	acked map[string]string
}

func newLedger() *ledger { return &ledger{acked: map[string]string{}} }

func (l *ledger) add(key, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = value
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *ledger) snapshot() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acked)
}

// verify compares what kv has with what was acknowledged. Keys that were not
// acknowledged may be there or not.
func (l *ledger) verify(ctx context.Context, kv clientv3.KV) error {
	want := l.snapshot()
	if len(want) == 0 {
		return errors.New("nothing was acknowledged: there is nothing to check")
	}
	got, err := readAll(ctx, kv)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	var lost []string
	for k, v := range want {
		if g, ok := got[k]; !ok {
			lost = append(lost, k+" (missing)")
		} else if g != v {
			lost = append(lost, fmt.Sprintf("%s (%q instead of %q)", k, g, v))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	slices.Sort(lost)
	return fmt.Errorf("%w: %d of %d, like %s", ErrLost, len(lost), len(want),
		strings.Join(lost[:min(len(lost), listedKeys)], ", "))
}

// readAll reads the demo's keys page by page, all at the first page's
// revision. The first read is linearizable: it holds all that was
// acknowledged before.
func readAll(ctx context.Context, kv clientv3.KV) (map[string]string, error) {
	got := map[string]string{}
	end := clientv3.GetPrefixRangeEnd(prefix)
	from, opts := prefix, []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(pageSize)}
	for {
		resp, err := kv.Get(ctx, from, opts...)
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Kvs {
			got[string(e.Key)] = string(e.Value)
		}
		if !resp.More {
			return got, nil
		}
		if from == prefix {
			opts = append(opts, clientv3.WithRev(resp.Header.Revision))
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}
