package udp

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// upPair is two nodes whose link is up, on a clean path.
func upPair(t *testing.T, f simFaults, edit func(*linkConfig)) (s *sim, a, b *simNode) {
	t.Helper()
	s = newSim(1, t.Errorf)
	a, b = simPair(s, f, edit)
	s.run(300 * ms)
	if a.l.phase != phaseUp || b.l.phase != phaseUp {
		t.Fatal("the link is not up")
	}
	return s, a, b
}

// describe writes a datagram's content as a line of a transcript.
func describe(n *simNode, d []byte) string {
	var h header
	parseHeader(d, &h)
	b := append([]byte(nil), d...)
	payload, ok := n.peer.l.recvKeys.forGen(h.gen).open(b, h.number, new([nonceLen]byte))
	if !ok {
		return "does not open"
	}
	words := []string{fmt.Sprintf("#%d", h.number)}
	for len(payload) > 0 {
		var c chunk
		payload, _ = nextChunk(payload, &c)
		switch c.typ {
		case chunkPadding:
			words = append(words, "padding")
		case chunkPing:
			words = append(words, "ping")
		case chunkClose:
			words = append(words, "close")
		case chunkAck:
			var a ackReader
			var word strings.Builder
			word.WriteString("ack")
			for a.open(c.data); a.left > 0; {
				lo, hi, _ := a.next()
				word.WriteString(fmt.Sprintf(" %d-%d", lo, hi))
			}
			words = append(words, word.String())
		case chunkWindow:
			limits, _ := parseWindow(c.data)
			words = append(words, fmt.Sprintf("window %d", limits))
		case chunkSkip:
			words = append(words, fmt.Sprintf("%v skip to %d, frame %d", c.lane, c.offset, c.link))
		case chunkRow:
			r, _ := fabric.ParseRow(c.data)
			words = append(words, fmt.Sprintf("row %d", r.Version))
		case chunkStream:
			words = append(words, fmt.Sprintf("%v %d+%d", c.lane, c.offset, len(c.data)))
		}
	}
	if h.flags&flagAckNow != 0 {
		words = append(words, "(at once)")
	}
	return strings.Join(words, "; ")
}

// transcript records what passes between two nodes.
type transcript struct {
	strings.Builder
	s    *sim
	drop func(from *simNode, line string) bool
}

func (tr *transcript) watch(n *simNode) {
	n.tap = func(d []byte) bool {
		line := describe(n, d)
		arrow := " -> "
		if tr.drop != nil && tr.drop(n, line) {
			arrow = " -x "
		}
		fmt.Fprintf(tr, "%9v  %s%s%s  %s\n", time.Duration(tr.s.now).Round(10*time.Microsecond), n.name, arrow, n.peer.name, line)
		return arrow == " -> "
	}
}

func (tr *transcript) say(format string, args ...any) { fmt.Fprintf(tr, format+"\n", args...) }

func (tr *transcript) compare(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(tr.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := tr.String(); got != string(want) {
		t.Errorf("%s (-update rewrites it):\ngot\n%swant\n%s", path, got, want)
	}
}

// TestTranscripts pins what passes between two links, as a story to read.
func TestTranscripts(t *testing.T) {
	small := func(c *linkConfig) { c.top = minDatagram }
	start := func() (*transcript, *simNode, *simNode) {
		tr := &transcript{}
		tr.s = newSim(1, t.Errorf)
		a, b := simPair(tr.s, simFaults{delay: time.Millisecond}, small)
		return tr, a, b
	}
	t.Run("up", func(t *testing.T) {
		tr, a, b := start()
		tr.say("Two members that were given a session. The first datagram of b gets lost.\n")
		b.out.dead = true
		tr.watch(a)
		tr.watch(b)
		tr.s.run(ms / 2)
		b.out.dead = false
		tr.s.run(100 * ms)
		tr.say("\na sends a frame; b has nothing to say for 20 ms.\n")
		a.send(fabric.LaneAppend, 256, 72)
		a.settleDown()
		tr.s.run(200 * ms)
		tr.say("\nOtherwise the answer carries the ack.\n")
		a.send(fabric.LaneControl, 256, 0)
		a.settleDown()
		tr.s.at(tr.s.now+ms+1, func() { b.send(fabric.LaneControl, 256, 0); b.settleDown() })
		tr.s.run(300 * ms)
		tr.compare(t, "up")
	})
	t.Run("loss", func(t *testing.T) {
		tr, a, b := start()
		tr.s.run(300 * ms)
		tr.watch(a)
		tr.watch(b)
		tr.say("The second of five datagrams is lost: its bytes go again in a new one, when three later ones are acknowledged.\n")
		lost := false
		tr.drop = func(from *simNode, line string) bool {
			drop := !lost && from == a && strings.Contains(line, "append 1132+")
			lost = lost || drop
			return drop
		}
		for range 5 {
			a.send(fabric.LaneAppend, 1100, 0)
			a.settleDown()
		}
		tr.s.run(400 * ms)
		tr.compare(t, "loss")
	})
	t.Run("skip", func(t *testing.T) {
		tr, a, b := start()
		tr.s.run(300 * ms)
		tr.watch(a)
		tr.watch(b)
		tr.say("Nothing of a arrives until its frames have timed out. Then b learns what it will never see.\n")
		a.l.cfg.ticketTimeout = 60 * ms
		a.out.dead = true
		for range 2 {
			a.send(fabric.LaneAppend, 100, 0)
			a.settleDown()
		}
		tr.s.run(365 * ms)
		a.out.dead = false
		a.send(fabric.LaneAppend, 100, 0)
		a.settleDown()
		tr.s.run(450 * ms)
		for _, r := range a.sent[fabric.LaneAppend] {
			tr.say("frame %d: %s, missing %v, delivered %v", r.link, r.state, r.gap, r.got)
		}
		tr.compare(t, "skip")
	})
}

// TestCorkTranscript: content waits for company while a batch is under way.
func TestCorkTranscript(t *testing.T) {
	tr := &transcript{}
	tr.s = newSim(1, t.Errorf)
	a, b := simPair(tr.s, simFaults{delay: time.Millisecond}, nil)
	tr.s.run(300 * ms)
	tr.watch(a)
	tr.watch(b)
	batch := func() {
		for range 10 {
			a.send(fabric.LaneAppend, 300, 0)
		}
		a.settleDown()
	}
	one := func(lane fabric.Lane) {
		a.send(lane, 100, 0)
		a.settleDown()
	}
	tr.say("Frames that come one by one leave one by one.\n")
	one(fabric.LaneAppend)
	one(fabric.LaneAppend)
	tr.s.run(350 * ms)
	tr.say("\nTen at a time show that a hands over faster than datagrams leave: what follows leaves together when they are acknowledged.\n")
	batch()
	one(fabric.LaneAppend)
	tr.s.run(tr.s.now + ms)
	one(fabric.LaneAppend)
	tr.s.run(400 * ms)
	tr.say("\nThe control lane does not wait, and takes along what does.\n")
	batch()
	one(fabric.LaneAppend)
	one(fabric.LaneControl)
	tr.s.run(450 * ms)
	tr.say("\nEnough company is enough.\n")
	batch()
	for range 2 * corkFull / 1000 {
		a.send(fabric.LaneAppend, 1000, 0)
		a.settleDown()
	}
	tr.s.run(500 * ms)
	tr.say("\nThe acknowledgement is lost: the wait ends by itself.\n")
	tr.drop = func(from *simNode, _ string) bool { return from == b }
	batch()
	one(fabric.LaneAppend)
	tr.s.run(510 * ms)
	tr.drop = nil
	tr.s.run(600 * ms)
	tr.compare(t, "cork")
}

// TestAcksAreThinned: a stream in one direction needs few acknowledgements.
func TestAcksAreThinned(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond, rate: 100e6, queue: 1 << 20}, func(c *linkConfig) { c.top = 1472 })
	flood(a, 1<<60)
	s.run(1000 * ms)
	sent, acks := a.l.stats.DatagramsSent, b.l.stats.DatagramsSent
	s.run(3000 * ms)
	sent, acks = a.l.stats.DatagramsSent-sent, b.l.stats.DatagramsSent-acks
	if sent < 10_000 || sent/acks < 4 {
		t.Errorf("%d datagrams and %d in the other direction", sent, acks)
	}
}

// TestKeepAlive: an idle link stays up at the price of a few datagrams.
func TestKeepAlive(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	before := a.l.stats.DatagramsSent + b.l.stats.DatagramsSent
	s.run(s.now + 20_000*ms)
	if n := a.l.stats.DatagramsSent + b.l.stats.DatagramsSent - before; n > 170 || n < 40 {
		t.Errorf("%d datagrams in 20 s of silence", n)
	}
	if len(a.links) != 1 || len(b.links) != 1 {
		t.Errorf("the link changed: %+v, %+v", a.links, b.links)
	}
}

// TestDeadPeer: silence takes a link down in the idle timeout.
func TestDeadPeer(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	b.mute, b.out.dead = true, true
	dead := s.now
	for a.up && s.now < dead+10_000*ms {
		s.run(s.now + ms)
	}
	if took := s.now - dead; took < a.l.cfg.idleTimeout-a.l.cfg.keepAlive-10*ms || took > a.l.cfg.idleTimeout+10*ms {
		t.Errorf("down after %v", time.Duration(took))
	}
	if err := a.links[len(a.links)-1].Err; !errors.Is(err, ErrNoAnswer) {
		t.Errorf("reason: %v", err)
	}
}

// TestRevival: a peer that did not listen for a while gets what it missed as soon
// as it is heard, not when the back-off says so.
func TestRevival(t *testing.T) {
	for away := int64(100 * ms); away < 1500*ms; away += 37 * ms {
		s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
		b.l.setGate(s.now, false, &b.ev)
		b.news()
		for end := s.now + away; s.now < end; {
			a.publish()
			a.settleDown()
			s.run(s.now + 10*ms)
		}
		b.l.setGate(s.now, true, &b.ev)
		b.settleDown()
		back := s.now
		for b.rowSeen != a.rows && s.now < back+1000*ms {
			s.run(s.now + ms)
		}
		if took := s.now - back; took > 50*ms {
			t.Errorf("away for %v: the row came %v after the return", time.Duration(away), time.Duration(took))
		}
	}
}

// TestOneWayPath: who is heard and does not hear is not up, for either.
func TestOneWayPath(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	a.out.dead = true
	cut := s.now
	s.run(cut + 2*a.l.cfg.idleTimeout)
	for _, x := range []struct {
		n    *simNode
		want error
	}{{a, ErrOneWay}, {b, ErrNoAnswer}} {
		if err := x.n.links[len(x.n.links)-1].Err; x.n.up || !errors.Is(err, x.want) {
			t.Errorf("%s: up %v, reason %v, want %v", x.n.name, x.n.up, err, x.want)
		}
	}
	a.out.dead = false
	s.run(s.now + 2*int64(probeLast))
	if !a.up || !b.up {
		t.Error("the path works again, the link is not up")
	}
}

// TestOwnStallIsNoSilence: a member that was stopped does not blame its peer.
func TestOwnStallIsNoSilence(t *testing.T) {
	s, a, _ := upPair(t, simFaults{delay: time.Millisecond}, nil)
	var ev events
	s.now += 10_000 * ms
	a.l.tick(s.now, &ev)
	if a.l.phase != phaseUp {
		t.Fatalf("down after a stall of this host: %v", a.l.why)
	}
	for until := s.now + 3*a.l.cfg.idleTimeout; s.now < until; s.now += ms {
		a.l.tick(s.now, &ev)
	}
	if a.l.phase == phaseUp {
		t.Error("up though nothing came while this host was awake")
	}
}

// TestLargestFramesFlow: credit is stated often enough for frames that fill the
// window.
func TestLargestFramesFlow(t *testing.T) {
	const frame = 40 << 10
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, func(c *linkConfig) {
		c.windows = [fabric.Lanes]int{leastWindow(frame), leastWindow(frame), leastWindow(frame)}
	})
	sent := 0
	var next func()
	next = func() {
		for a.send(fabric.LaneBulk, frame, 0) {
			sent++
			a.settleDown()
		}
		s.after(500*time.Microsecond, next)
	}
	next()
	s.run(s.now + 3000*ms)
	if sent < 100 || b.got < int64(sent-2)*frame {
		t.Errorf("%d frames were accepted in 3 s, %d bytes delivered", sent, b.got)
	}
}

// TestLanesShare: control first, bulk not starved.
func TestLanesShare(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond, rate: 5e6, queue: 60_000}, func(c *linkConfig) { c.top = 1472 })
	flood(a, 1<<60)
	s.run(s.now + 1000*ms)
	for range 60 {
		a.send(fabric.LaneBulk, 1000, 0)
	}
	a.send(fabric.LaneControl, 100, 0)
	a.settleDown()
	sentAt := s.now
	control, bulk := a.sent[fabric.LaneControl][0], a.sent[fabric.LaneBulk]
	for !control.got && s.now < sentAt+1000*ms {
		s.run(s.now + ms)
	}
	if took := s.now - sentAt; took > 25*ms { // the path's queue holds 12 ms
		t.Errorf("a control frame took %v past a backlog of %d bytes", time.Duration(took), a.l.out[fabric.LaneAppend].pendingBytes())
	}
	s.run(sentAt + 1000*ms)
	if !bulk[len(bulk)-1].got {
		t.Error("60 kB of bulk were starved for a second by the append lane")
	}
	if b.next[fabric.LaneAppend] < 1000 {
		t.Errorf("%d append frames", b.next[fabric.LaneAppend])
	}
}

// TestRows: latest wins, at once or within the interval, resent until acked.
func TestRows(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	publish := func(prompt bool) {
		a.rows++
		row := fabric.Row{Owner: 1, Incarnation: 1, Version: a.rows}
		a.l.setRow(s.now, fabric.AppendRow(nil, &row), prompt)
		a.settleDown()
	}
	publish(true)
	s.run(s.now + 2*ms)
	if b.rowSeen != 1 {
		t.Error("P5: a prompt row is not there after one trip")
	}
	sent := a.l.stats.RowsSent
	for range 1000 {
		publish(false)
	}
	s.run(s.now + a.l.cfg.rowInterval + 2*ms)
	if b.rowSeen != a.rows {
		t.Errorf("P5: row %d of %d after the interval", b.rowSeen, a.rows)
	}
	if n := a.l.stats.RowsSent - sent; n != 1 {
		t.Errorf("P5: %d of 1000 versions were sent in one interval", n)
	}
	a.out.dead = true
	publish(true)
	s.run(s.now + 5*ms)
	a.out.dead = false
	s.run(s.now + 100*ms)
	if b.rowSeen != a.rows {
		t.Errorf("P5: row %d of %d: a lost row is not sent again", b.rowSeen, a.rows)
	}
	sent = a.l.stats.RowsSent
	s.run(s.now + 5000*ms)
	if n := a.l.stats.RowsSent - sent; n != 0 {
		t.Errorf("%d rows sent after the newest was acknowledged", n)
	}
}

// TestEndedSessionIsSilent: after a close neither end sends or accepts.
func TestEndedSessionIsSilent(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	b.send(fabric.LaneAppend, 10, 0)
	a.l.end(s.now, fabric.ErrClosed, true, &a.ev)
	a.settleDown()
	s.run(s.now + 2*ms)
	if st := b.links[len(b.links)-1]; st.Up || !errors.Is(st.Err, ErrPeerClosed) {
		t.Errorf("b: %+v", st)
	}
	if r := b.sent[fabric.LaneAppend][0]; r.state != "lost" {
		t.Errorf("F2: the ticket in flight is %q", r.state)
	}
	sent := a.l.stats.DatagramsSent + b.l.stats.DatagramsSent
	s.run(s.now + 20_000*ms)
	if n := a.l.stats.DatagramsSent + b.l.stats.DatagramsSent; n != sent {
		t.Errorf("%d datagrams of a session that is over", n-sent)
	}
	if b.send(fabric.LaneAppend, 10, 0) {
		t.Error("a frame was accepted")
	}
}

// TestMovedPath: another path starts from what is safe everywhere.
func TestMovedPath(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	flood(a, s.now+500*ms)
	s.run(s.now + 200*ms)
	if a.l.mtu.size == minDatagram || a.l.cc.window <= initialWindow {
		t.Fatalf("datagrams of %d, window %d: nothing to lose", a.l.mtu.size, a.l.cc.window)
	}
	a.l.moved(s.now)
	if a.l.mtu.size != minDatagram || a.l.cc.window != initialWindow || a.l.rtt.smoothed != 0 {
		t.Errorf("datagrams of %d, window %d, round trip %d on an unknown path", a.l.mtu.size, a.l.cc.window, a.l.rtt.smoothed)
	}
	a.check()
	got := b.got
	s.run(s.now + 1000*ms)
	if b.got == got || len(a.links) != 1 {
		t.Errorf("%d bytes afterwards, links %+v", b.got-got, a.links)
	}
}
