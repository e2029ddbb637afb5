package raftdv

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
)

type wayConn struct {
	id     types.ID
	closed bool
}

func (c *wayConn) Close() error { c.closed = true; return nil }

// TestFirstWay: of members that may relay, the first that does.
func TestFirstWay(t *testing.T) {
	const never = time.Hour
	no := errors.New("no")
	type answer struct {
		after time.Duration
		err   error
	}
	for _, c := range []struct {
		name    string
		answers []answer
		want    types.ID // 0: none
		after   time.Duration
		asked   int
		errs    string
	}{
		{"nobody", nil, 0, 0, 0, "nobody"},
		{"the first", []answer{{time.Millisecond, nil}, {0, nil}}, 1, time.Millisecond, 1, ""},
		{"the next when one fails", []answer{{time.Millisecond, no}, {time.Millisecond, nil}}, 2, 2 * time.Millisecond, 2, ""},
		{"the next when one takes long", []answer{{never, nil}, {time.Millisecond, nil}}, 2, wayAfter + time.Millisecond, 2, ""},
		{"who takes long may still be first", []answer{{wayAfter + 2*time.Millisecond, nil}, {never, nil}}, 1, wayAfter + 2*time.Millisecond, 2, ""},
		{"all fail", []answer{{0, no}, {time.Millisecond, no}}, 0, time.Millisecond, 2, "by way of 2: no"},
		{"all fail, one late", []answer{{2 * wayAfter, no}, {0, no}}, 0, 2 * wayAfter, 2, "by way of 1: no"},
		{"too many", []answer{{0, no}, {0, no}, {0, no}, {0, no}, {0, nil}}, 0, 0, maxWays, "by way of 4: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ways []*peer
				for i := range c.answers {
					ways = append(ways, &peer{id: types.ID(i + 1)})
				}
				var wg sync.WaitGroup
				var mu sync.Mutex
				var opened []*wayConn
				asked := 0
				begin := time.Now()
				got, err := firstWay(t.Context(), &wg, ways, func(ctx context.Context, via *peer) (*wayConn, error) {
					mu.Lock()
					asked++
					mu.Unlock()
					a := c.answers[via.id-1]
					select {
					case <-time.After(a.after):
					case <-ctx.Done(): // too late: opened all the same
					}
					if a.err != nil {
						return nil, a.err
					}
					mu.Lock()
					defer mu.Unlock()
					opened = append(opened, &wayConn{id: via.id})
					return opened[len(opened)-1], nil
				})
				took := time.Since(begin)
				wg.Wait()
				if (got == nil) != (c.want == 0) || got != nil && got.id != c.want || (err == nil) != (c.want != 0) {
					t.Fatalf("%v, %v: want %d", got, err, c.want)
				}
				if err != nil && !strings.Contains(err.Error(), c.errs) {
					t.Errorf("%q is not in %v", c.errs, err)
				}
				if took != c.after || asked != c.asked {
					t.Errorf("after %v, %d asked: want %v, %d", took, asked, c.after, c.asked)
				}
				for _, o := range opened {
					if o.closed == (o == got) {
						t.Errorf("that of %d is closed: %v", o.id, o.closed)
					}
				}
			})
		})
	}
}
