package udp

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// BenchmarkCore is the protocol without sockets: one op is a ping-pong of one
// frame of 256 bytes, two datagrams.
func BenchmarkCore(b *testing.B) {
	for _, frames := range []int{1, 16, 160} {
		b.Run(fmt.Sprintf("frames=%d", frames), func(b *testing.B) { benchCore(b, frames) })
	}
}

func benchCore(b *testing.B, frames int) {
	key := func(k byte) *sealKey {
		x, err := firstKey(bytes.Repeat([]byte{k}, 32), uint64(k), false)
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	cfg := (Config{Self: 1}).withDefaults()
	make1 := func(peer fabric.MemberID, send, recv byte) *link {
		l, err := newLink(&linkConfig{
			peer: peer, incarnation: 1, windows: cfg.Window, maxFrame: cfg.MaxFrame, queueFrames: cfg.QueueFrames,
			ticketTimeout: 2e9, idleTimeout: 2e9, keepAlive: 5e8, rowInterval: 1e7, rekeyAfter: 1 << 20, top: 65507, burst: 1 << 20,
			sendIndex: uint64(send), recvIndex: uint64(recv), sendKey: key(send), recvKey: key(recv),
		}, 0)
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	links := [2]*link{make1(2, 1, 2), make1(1, 2, 1)}
	var t batch
	t.buf = make([]byte, maxBatch)
	var ev events
	var nonce [nonceLen]byte
	now := int64(0)
	carry := func(from int) {
		l, to := links[from], links[1-from]
		for {
			t.fill(l, now, true)
			if t.count == 0 {
				return
			}
			t.seal()
			for d := t.rest(); len(d) > 0; d = d[min(t.seg, len(d)):] {
				d := d[:min(t.seg, len(d))]
				var h header
				parseHeader(d, &h)
				k := to.recvKeys.forGen(h.gen)
				p, ok := k.open(d, h.number, &nonce)
				if !ok || to.receive(now, &h, k, p, true, &ev) != accepted {
					b.Fatal("refused")
				}
				to.release(now)
				ev.reset()
			}
		}
	}
	for range 20 {
		now += 1e6
		for i := range links {
			links[i].tick(now, &ev)
			ev.reset()
			carry(i)
		}
	}
	body := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		for i := range links {
			now += 5000
			var h fabric.Header
			for range frames {
				h.Kind, h.Lane = fabric.KindData, fabric.LaneAppend
				if err := links[i].accept(now, &h, nil, body, 1); err != nil {
					b.Fatal(err)
				}
			}
			carry(i)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2/float64(frames), "ns/frame")
}
