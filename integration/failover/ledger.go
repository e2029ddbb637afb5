package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// prefix starts every key of a measurement.
	prefix = "failover/"
	// pageSize keys are read at a time.
	pageSize = 5000
	// listedKeys of those that are lost are named in an error.
	listedKeys = 5
)

// ErrLost is returned when an acknowledged write cannot be read back.
var ErrLost = errors.New("acknowledged writes are lost")

// A ledger holds the newest acknowledged number of each key. A key has one
// writer, which never writes it again after a write whose fate it does not
// know: so a key holds at least the number of the ledger. It may be used by
// several goroutines.
type ledger struct {
	mu    sync.Mutex
	acked map[string]uint64
	n     uint64
}

func newLedger() *ledger { return &ledger{acked: map[string]uint64{}} }

func (l *ledger) add(key string, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = max(l.acked[key], number)
	l.n++
}

// writes is how many were acknowledged.
func (l *ledger) writes() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// verify compares what kv has with what was acknowledged.
func (l *ledger) verify(ctx context.Context, kv clientv3.KV) error {
	got, err := readAll(ctx, kv)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return l.compare(got)
}

func (l *ledger) compare(got map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acked) == 0 {
		return errors.New("nothing was acknowledged: there is nothing to check")
	}
	var lost []string
	for key, want := range l.acked {
		value, ok := got[key]
		number, err := strconv.ParseUint(value, 10, 64)
		switch {
		case !ok:
			lost = append(lost, key+" (missing)")
		case err != nil || number < want:
			lost = append(lost, fmt.Sprintf("%s (%q instead of %d)", key, value, want))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	slices.Sort(lost)
	return fmt.Errorf("%w: %d of %d keys, like %s", ErrLost, len(lost), len(l.acked), strings.Join(lost[:min(len(lost), listedKeys)], ", "))
}

// readAll reads all keys page by page, all at the first page's revision. The
// first read is linearizable: it holds all that was acknowledged before.
func readAll(ctx context.Context, kv clientv3.KV) (map[string]string, error) {
	got := map[string]string{}
	opts := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(pageSize)}
	for from := prefix; ; {
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
