package ledger

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

// Every way to lose a write, with a real member that lost it.
func TestVerifyCatchesLosses(t *testing.T) {
	ctx, cli, l := t.Context(), oneMember(t), New("test/")
	if err := l.Verify(ctx, cli); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty ledger: %v", err)
	}
	const keys = 2*pageSize + 10 // more than two pages
	key := func(i int) string { return fmt.Sprintf("test/%06d", i) }
	for i := range keys {
		if _, err := l.Put(ctx, cli, key(i), 7); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cli.Put(ctx, "test/unacknowledged", "x"); err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(ctx, cli); err != nil {
		t.Fatalf("nothing is lost: %v", err)
	}
	for name, i := range map[string]int{"first": 0, "last of a page": pageSize - 1, "first of a page": pageSize, "last": keys - 1} {
		t.Run(name, func(t *testing.T) {
			if _, err := cli.Delete(ctx, key(i)); err != nil {
				t.Fatal(err)
			}
			wantLost(t, l.Verify(ctx, cli), "1 of 2010 keys, like "+key(i)+" (missing)")
			for _, planted := range []string{"of another", value(key(i), 6), value(key((i+1)%keys), 7)} {
				if _, err := cli.Put(ctx, key(i), planted); err != nil {
					t.Fatal(err)
				}
				wantLost(t, l.Verify(ctx, cli), fmt.Sprintf("%s (%q instead of %q)", key(i), planted, value(key(i), 7)))
			}
			if _, err := cli.Put(ctx, key(i), value(key(i), 8)); err != nil { // a write without an answer
				t.Fatal(err)
			}
			if err := l.Verify(ctx, cli); err != nil {
				t.Errorf("a newer number: %v", err)
			}
		})
	}
	if _, err := cli.Delete(ctx, "test/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	wantLost(t, l.Verify(ctx, cli), "2010 of 2010")
}

func wantLost(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a loss with %q", err, want)
	}
}

// No answer is no loss, and no success; and what is not acknowledged must not
// enter the ledger, since it may be missing.
func TestWithoutAnAnswer(t *testing.T) {
	cli, l := oneMember(t), New("test/")
	if _, err := l.Put(t.Context(), cli, "test/k", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Verify(ctx, cli); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if resp, err := l.Put(ctx, cli, "test/k", 2); err == nil || resp != nil || l.Writes() != 1 || l.acked["test/k"] != 1 {
		t.Errorf("a put that failed: %v, %v, %d writes, %v", resp, err, l.Writes(), l.acked)
	}
}

// Answers may be entered in another order than they came.
func TestNumbersOnlyRise(t *testing.T) {
	cli, l := oneMember(t), New("test/")
	for _, n := range []uint64{2, 1} {
		if _, err := l.Put(t.Context(), cli, "test/k", n); err != nil {
			t.Fatal(err)
		}
	}
	if l.acked["test/k"] != 2 || l.Writes() != 2 {
		t.Errorf("%v, %d writes", l.acked, l.Writes())
	}
}
