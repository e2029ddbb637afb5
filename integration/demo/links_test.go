package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/failover"
	"github.com/raftdv/dv/internal/needs"
)

// TestLinks: links are cut indeed, and members that lost each other have others
// between them. How long somebody could write is a goal, which a busy machine may miss.
func TestLinks(t *testing.T) {
	needs.Time(t, "starts two clusters in network namespaces")
	var out strings.Builder
	err := Links(t.Context(), LinksConfig{Binary: etcdDV(t), Duration: 4 * time.Second}, &out)
	if err != nil && !errors.Is(err, failover.ErrMissed) {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "SKIPPED") {
		needs.Refused(t, out.String(), needs.Bridges()...)
	}
	for _, want := range []string{"no stock etcd", "three members", "a chain", "half-way", ": by way of m", "acknowledged writes read back"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	t.Logf("%v\n%s", err, out.String())
}

// TestLinksWithoutRelays is the control: nobody is between members that were told to
// pass on nothing.
func TestLinksWithoutRelays(t *testing.T) {
	needs.Time(t, "starts two clusters in network namespaces")
	var out strings.Builder
	err := Links(t.Context(), LinksConfig{Binary: etcdDV(t), Duration: 4 * time.Second, Args: []string{"--dv-relays=off"}}, &out)
	if err != nil && !errors.Is(err, failover.ErrMissed) {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "SKIPPED") {
		needs.Refused(t, out.String(), needs.Bridges()...)
	}
	if s := out.String(); strings.Contains(s, "by way of") || !strings.Contains(s, "cut off (") {
		t.Errorf("%s", s)
	}
}
