package ledger

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
	// pageSize keys are read at a time.
	pageSize = 1000
	// listedKeys of those that are lost are named in an error.
	listedKeys = 5
)

var (
	// ErrLost is returned when an acknowledged write cannot be read back.
	ErrLost = errors.New("acknowledged writes are lost")
	// ErrEmpty is returned when nothing was acknowledged: a check of nothing
	// is no success.
	ErrEmpty = errors.New("nothing was acknowledged: there is nothing to check")
)

// A Ledger holds the newest acknowledged number of each key. A key has one
// writer, whose numbers rise, and which never writes it again after a write
// whose fate it does not know: so a key holds at least the number of the ledger.
// A Ledger may be used by several goroutines.
type Ledger struct {
	prefix string
	mu     sync.Mutex
	acked  map[string]uint64
	writes uint64
}

// New returns a ledger of keys that begin with prefix, and that nobody else
// writes.
func New(prefix string) *Ledger { return &Ledger{prefix: prefix, acked: map[string]uint64{}} }

// Prefix begins every key.
func (l *Ledger) Prefix() string { return l.prefix }

// Put writes number to key, and enters it if that is acknowledged. The response
// is nil if it is not, as the error says.
func (l *Ledger) Put(ctx context.Context, kv clientv3.KV, key string, number uint64) (*clientv3.PutResponse, error) {
	resp, err := kv.Put(ctx, key, value(key, number))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = max(l.acked[key], number)
	l.writes++
	return resp, nil
}

// value names its key, so that one that ended up at another key is not taken for
// the right one.
func value(key string, number uint64) string { return strconv.FormatUint(number, 10) + " " + key }

// Writes is how many were acknowledged.
func (l *Ledger) Writes() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

// Verify compares what kv has with what was acknowledged. Keys that were not
// acknowledged may be there or not.
func (l *Ledger) Verify(ctx context.Context, kv clientv3.KV) error {
	l.mu.Lock()
	n := len(l.acked)
	l.mu.Unlock()
	if n == 0 {
		return ErrEmpty
	}
	got, err := l.readAll(ctx, kv)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return l.compare(got)
}

func (l *Ledger) compare(got map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []string
	for key, want := range l.acked {
		v, ok := got[key]
		text, rest, _ := strings.Cut(v, " ")
		number, err := strconv.ParseUint(text, 10, 64)
		switch {
		case !ok:
			lost = append(lost, key+" (missing)")
		case err != nil || rest != key || number < want:
			lost = append(lost, fmt.Sprintf("%s (%q instead of %q)", key, v, value(key, want)))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	slices.Sort(lost)
	return fmt.Errorf("%w: %d of %d keys, like %s", ErrLost, len(lost), len(l.acked), strings.Join(lost[:min(len(lost), listedKeys)], ", "))
}

// readAll reads the keys page by page, all at the first page's revision. The
// first read is linearizable: it holds all that was acknowledged before.
func (l *Ledger) readAll(ctx context.Context, kv clientv3.KV) (map[string]string, error) {
	got := map[string]string{}
	opts := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(l.prefix)), clientv3.WithLimit(pageSize)}
	for from := l.prefix; ; {
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
		if from == l.prefix {
			opts = append(opts, clientv3.WithRev(resp.Header.Revision))
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}
