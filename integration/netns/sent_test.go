package netns

import (
	"testing"
)

func TestParseTraffic(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     1       2    0    0    0     0          0         0        3       4    0    0    0     0       0          0
  eth0: 1111       22    0    0    0     0          0         0     3333      44    0    0    0     0       0          0
`
	if got, err := parseTraffic([]byte(text), "eth0"); err != nil || got != (Traffic{44, 3333}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseTraffic([]byte(text), "eth1"); err == nil {
		t.Error("a device that is not there has counters")
	}
}

// TestTraffic: what members send counts, one by one.
func TestTraffic(t *testing.T) {
	l := links(t, 2)
	e := newEchoes(t, l)
	before, err := l.Sent()
	if err != nil {
		t.Fatal(err)
	}
	const asked = 20
	for i := range byte(asked) {
		if !e.ask(Link{0, 1}, i, 100) {
			t.Fatalf("no answer to %d", i)
		}
	}
	after, err := l.Sent()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel may say something on its own.
	if n := after.Packets - before.Packets; n < 2*asked || n > 2*asked+20 {
		t.Errorf("%d datagrams and answers are %d packets", asked, n)
	}
	if n := after.Bytes - before.Bytes; n < 2*asked*142 {
		t.Errorf("%d bytes", n)
	}
}
