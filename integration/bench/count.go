package bench

import (
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"
)

// counted counts what raft gives to a transport, in the same way for all of
// them: messages, and their size as protobuf. It says nothing of what the
// transport makes of it.
type counted struct {
	rafthttp.Transporter
	messages, bytes atomic.Uint64
}

func (c *counted) unwrap() rafthttp.Transporter { return c.Transporter }

func (c *counted) Send(msgs []*raftpb.Message) {
	n, size := uint64(0), uint64(0)
	for _, m := range msgs {
		if m.GetTo() != 0 {
			n, size = n+1, size+uint64(proto.Size(m))
		}
	}
	c.messages.Add(n)
	c.bytes.Add(size)
	c.Transporter.Send(msgs)
}

// traffic is what all members had sent at one moment.
type traffic struct {
	messages, bytes uint64
	// wire is what the ports say they sent, with all that they add and repeat;
	// 0 where they do not say.
	wire uint64
}

func (t traffic) since(before traffic) traffic {
	return traffic{t.messages - before.messages, t.bytes - before.bytes, t.wire - before.wire}
}
