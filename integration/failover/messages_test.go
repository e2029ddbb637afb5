package failover

import (
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/internal/needs"
)

// TestRunMessages: real clusters.
func TestRunMessages(t *testing.T) {
	p := programs(t)
	var got []MessagesResult
	cfg := MessagesConfig{Programs: p, Members: []int{3}, Writers: []int{0, 1}, Duration: time.Second, Trials: 1}
	if err := RunMessages(t.Context(), cfg, func(r MessagesResult) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	empty(t, p.Dir)
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if got[0].Skipped != "" {
		needs.Refused(t, got[0].Skipped, needs.Bridges()...)
	}
	for _, n := range []MessagesNumbers{got[1].Stock, got[1].DV} {
		// A write takes two messages to each follower and back at least.
		if n.WritesPS <= 0 || n.PacketsPerWrite < 2 || n.Min != n.PacketsPerWrite || n.Max != n.PacketsPerWrite || n.BytesPerWrite < 100 {
			t.Errorf("%+v", n)
		}
	}
	for _, n := range []MessagesNumbers{got[0].Stock, got[0].DV} {
		if n.Packets <= 0 || n.WritesPS != 0 || n.PacketsPerWrite != 0 {
			t.Errorf("without load: %+v", n)
		}
	}
	var table strings.Builder
	if err := WriteMessagesTable(&table, got); err != nil || strings.Count(table.String(), "\n") != 5 {
		t.Errorf("%v: %s", err, table.String())
	}
}

func TestMessagesConfig(t *testing.T) {
	err := MessagesConfig{Members: []int{1}, Writers: []int{-1}, Duration: time.Millisecond, Trials: -1}.Validate()
	for _, want := range []string{"1 members", "-1 writers", "a count of 1ms", "-1 trials", "stock etcd", "etcd-dv"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
