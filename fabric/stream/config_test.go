package stream

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

func TestValidateListsAllFaults(t *testing.T) {
	c := Config{
		MaxFrame: 10, TicketTimeout: -1, KeepAlive: -1, IdleTimeout: -3, RowInterval: -1, AckDelay: -1,
		Queues: [fabric.Lanes]Queue{{Bytes: -1}, {Frames: -1}, {Window: -1}},
	}
	_, err := New(c, quiet{})
	if err == nil {
		t.Fatal("New accepts a configuration without anything right")
	}
	for _, what := range []string{
		"Self", "Incarnation", "MaxFrame", "TicketTimeout", "KeepAlive", "IdleTimeout", "RowInterval", "AckDelay",
		"Queues[control]", "Queues[append]", "Queues[bulk]",
	} {
		if !strings.Contains(err.Error(), "stream: "+what) {
			t.Errorf("%s is not named in:\n%v", what, err)
		}
	}
	for name, c := range map[string]Config{
		"leave time for two keep-alives": {Self: 1, Incarnation: 1, KeepAlive: time.Second, IdleTimeout: time.Second},
		"leave time for acks":            {Self: 1, Incarnation: 1, AckDelay: time.Second, TicketTimeout: time.Second},
		"at most":                        {Self: 1, Incarnation: 1, MaxFrame: fabric.MaxBody + 1},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) || strings.Count(err.Error(), "stream:") != 1 {
			t.Errorf("%v, want the one fault %q", err, name)
		}
	}
	if err := (Config{Self: 1, Incarnation: 1}).Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	c := Config{}.withDefaults()
	want := [fabric.Lanes]Queue{{1 << 20, 4096, 512 << 10}, {64 << 20, 4096, 4 << 20}, {8 << 20, 4096, 4 << 20}}
	if c.Queues != want {
		t.Errorf("queues %+v, want %+v", c.Queues, want)
	}
	if c.MaxFrame != 32<<20 || c.TicketTimeout != 5*time.Second || c.KeepAlive != 200*time.Millisecond ||
		c.IdleTimeout != 5*time.Second || c.RowInterval != 10*time.Millisecond || c.AckDelay != 20*time.Millisecond {
		t.Errorf("defaults %+v", c)
	}
	c = Config{Queues: [fabric.Lanes]Queue{{Bytes: 1000, Window: 900}}}.withDefaults()
	if got := c.Queues[0].Window; got != 500 {
		t.Errorf("window %d, want half of Bytes", got)
	}
}

func TestSessionSocket(t *testing.T) {
	near, far := socketPair(t, network{family: "tcp"})
	defer far.Close()
	if s := (Session{}).withSocket(near); s.Socket != near || !s.Direct {
		t.Errorf("a TCP connection is its own socket: %+v", s)
	}
	pipe, _ := net.Pipe()
	if s := (Session{Direct: true}).withSocket(pipe); s.Socket != nil || s.Direct {
		t.Errorf("a pipe has no socket: %+v", s)
	}
	if s := (Session{Socket: near}).withSocket(pipe); s.Socket != near || s.Direct {
		t.Errorf("what is given stays: %+v", s)
	}
}

func TestCapabilities(t *testing.T) {
	p, err := New(Config{Self: 1, Incarnation: 1, Sealed: true, MaxFrame: 5000}, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := fabric.Capabilities{Name: "stream", MaxFrame: 5000, MaxRow: fabric.MaxRowSections, Sealed: true, TicketTimeout: defaultTicketTimeout}
	if got := p.Capabilities(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
