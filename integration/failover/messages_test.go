package failover

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/internal/needs"
)

func TestParseTraffic(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     1       2    0    0    0     0          0         0        3       4    0    0    0     0       0          0
  eth0: 1111       22    0    0    0     0          0         0     3333      44    0    0    0     0       0          0
`
	if got, err := parseTraffic([]byte(text), "eth0"); err != nil || got != (traffic{44, 3333}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseTraffic([]byte(text), "eth1"); err == nil {
		t.Error("a device that is not there has counters")
	}
}

// TestTraffic: what members send counts, one by one.
func TestTraffic(t *testing.T) {
	l, err := newLinks(t.Context(), 2)
	if errors.Is(err, ErrNotHere) {
		needs.Refused(t, err.Error(), needs.Bridges()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	e := newEchoes(t, l)
	before, err := l.traffic()
	if err != nil {
		t.Fatal(err)
	}
	const asked = 20
	for i := range byte(asked) {
		if !e.ask(link{0, 1}, i, 100) {
			t.Fatalf("no answer to %d", i)
		}
	}
	after, err := l.traffic()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel may say something on its own.
	if n := after.packets - before.packets; n < 2*asked || n > 2*asked+20 {
		t.Errorf("%d datagrams and answers are %d packets", asked, n)
	}
	if n := after.bytes - before.bytes; n < 2*asked*142 {
		t.Errorf("%d bytes", n)
	}
}

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
