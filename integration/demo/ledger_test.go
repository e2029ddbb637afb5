package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func oneMember(t *testing.T) *clientv3.Client {
	t.Helper()
	bin, err := cluster.Build(t.Context(), cluster.Etcd)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(t.Context(), cluster.Config{Binary: bin, Size: 1, Args: []string{"--unsafe-no-fsync"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cli, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cli.Close() })
	return cli
}

// The demo is worth no more than its check: every way to lose a write must
// fail it.
func TestVerifyCatchesLosses(t *testing.T) {
	ctx, cli, l := t.Context(), oneMember(t), newLedger()
	if err := l.verify(ctx, cli); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("an empty ledger: %v", err)
	}
	const keys = 2*pageSize + 10 // more than two pages
	key := func(i int) string { return fmt.Sprintf("%sk/%06d", prefix, i) }
	for i := range keys {
		if !put(ctx, cli, l, key(i), putTimeout) {
			t.Fatal("put failed")
		}
	}
	if _, err := cli.Put(ctx, prefix+"unacknowledged", "x"); err != nil {
		t.Fatal(err)
	}
	if err := l.verify(ctx, cli); err != nil {
		t.Fatalf("nothing is lost: %v", err)
	}
	for name, i := range map[string]int{"first": 0, "last of a page": pageSize - 1, "first of a page": pageSize, "last": keys - 1} {
		t.Run(name, func(t *testing.T) {
			if _, err := cli.Delete(ctx, key(i)); err != nil {
				t.Fatal(err)
			}
			wantLost(t, l.verify(ctx, cli), "1 of 2010, like "+key(i)+" (missing)")
			if _, err := cli.Put(ctx, key(i), "of another"); err != nil {
				t.Fatal(err)
			}
			wantLost(t, l.verify(ctx, cli), key(i)+` ("of another" instead of "value of `+key(i)+`")`)
			if _, err := cli.Put(ctx, key(i), "value of "+key(i)); err != nil {
				t.Fatal(err)
			}
		})
	}
	if _, err := cli.Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	wantLost(t, l.verify(ctx, cli), "2010 of 2010")
}

func wantLost(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a loss with %q", err, want)
	}
}

func TestVerifyFailsWithoutAnAnswer(t *testing.T) {
	cli, l := oneMember(t), newLedger()
	l.add("k", "v")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.verify(ctx, cli); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("got %v: no answer is no loss, and no success", err)
	}
}

// What is not acknowledged must not enter the ledger: it may be missing.
func TestPutEntersAcknowledgedOnly(t *testing.T) {
	cli, l := oneMember(t), newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if put(ctx, cli, l, prefix+"k", putTimeout) || l.len() != 0 {
		t.Errorf("%d entries of a put that failed", l.len())
	}
}
