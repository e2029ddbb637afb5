package stream

import (
	"io"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

func TestRawWriter(t *testing.T) {
	for _, n := range []network{{family: "tcp"}, {family: "unix"}} {
		t.Run(n.family, func(t *testing.T) {
			near, far := socketPair(t, n)
			w := newRawWriter(near)
			near.SetWriteDeadline(time.Now().Add(-time.Second)) // as a wrapper leaves it behind
			if got, err := w.write([]byte("hello")); got != 5 || err != nil {
				t.Fatalf("write: %d, %v", got, err)
			}
			b := make([]byte, 5)
			if _, err := io.ReadFull(far, b); err != nil || string(b) != "hello" {
				t.Fatalf("read %q, %v", b, err)
			}
			// Nobody reads: it takes what fits, then nothing, and never waits.
			block := make([]byte, 1<<20)
			total := 0
			for {
				got, err := w.write(block)
				if err != nil {
					t.Fatalf("a full socket: %v", err)
				}
				if total += got; got == 0 {
					break
				}
			}
			if total == 0 {
				t.Error("an empty socket takes nothing")
			}
			if n := testing.AllocsPerRun(100, func() { w.write(block[:1]) }); n > 0 {
				t.Errorf("%v allocations", n)
			}
			far.Close()
			await(t, "a broken connection is an error", func() bool { _, err := w.write(block[:1]); return err != nil })
			near.Close()
			if _, err := w.write(block[:1]); err == nil {
				t.Error("a closed connection is none")
			}
		})
	}
	if pipe, _ := bufferedPipe(); newRawWriter(pipe) != nil {
		t.Error("a pipe has a socket")
	}
}

// What an inline write leaves over is the writer goroutine's, in order.
func TestInlineWriteToFullSocket(t *testing.T) {
	near, far := socketPair(t, network{family: "unix"})
	r := &recorder{}
	p := newTestPort(t, Config{}, r)
	if _, err := p.AttachSend(mate, checked, near, nil); err != nil {
		t.Fatal(err)
	}
	wideOpen(p)
	w := &wire{tb: t, c: far}
	w.next(fabric.KindKeepalive)
	const frames = 3000
	for i := range uint64(frames) {
		p.peer(mate).heard.Store(p.now()) // so that each is tried inline
		mustSend(t, p, frameTo(mate, fabric.LaneAppend, i+1, make([]byte, 400)))
	}
	for i := range uint64(frames) {
		if f := w.next(fabric.KindData); f.Link != i+1 || len(f.Body) != 400 {
			t.Fatalf("frame %d of %d bytes, want %d", f.Link, len(f.Body), i+1)
		}
	}
}
