package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

type named string

func (n named) String() string { return string(n) }

// A comparison that fails is named, and the others are made.
func TestComparisonsGoOn(t *testing.T) {
	failure := errors.New("it lost something")
	all := comparisons[named, named]{
		cells: []named{"a", "b", "c"}, sealed: Clear, estimate: time.Minute, progress: func(string, ...any) {},
		run: func(_ context.Context, n named, certs *transport.TLSInfo) (named, error) {
			if n == "b" {
				return n, failure
			}
			return n, nil
		},
	}
	var got []named
	err := all.make(t.Context(), func(n named) { got = append(got, n) })
	if !errors.Is(err, failure) || !strings.Contains(err.Error(), "b: it lost") || !slices.Equal(got, []named{"a", "c"}) {
		t.Errorf("%v, %v", got, err)
	}
}
