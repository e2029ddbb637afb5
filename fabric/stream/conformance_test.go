package stream

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
)

func TestConformance(t *testing.T) {
	for _, n := range []network{
		{name: "tcp", family: "tcp", relayed: true},
		{name: "unix", family: "unix", relayed: true},
		{name: "tls", family: "tcp", tls: true, relayed: true},
	} {
		t.Run(n.name, func(t *testing.T) { fabrictest.Run(t, factory(n)) })
	}
}

func factory(n network) fabrictest.Factory {
	return fabrictest.Factory{
		Name: "stream/" + n.name,
		New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			w := newWorld(tb, n, configFor(opt), ids, handlers)
			return &fabrictest.Cluster{
				Port:    func(id fabric.MemberID) fabric.Port { return w.port(id) },
				Kill:    w.kill,
				Restart: w.restart,
				Cut:     w.relays.Cut,
				Mend:    w.relays.Mend,
				Close:   w.close,
			}
		},
	}
}

func configFor(opt fabrictest.Options) Config {
	cfg := Config{
		MaxFrame: opt.MaxFrame, TicketTimeout: opt.TicketTimeout, RowInterval: opt.RowInterval,
		KeepAlive: 20 * time.Millisecond, IdleTimeout: 2 * time.Second,
	}
	for l := range cfg.Queues {
		cfg.Queues[l].Bytes = opt.QueueBytes
	}
	return cfg
}
