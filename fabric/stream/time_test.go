package stream

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Everything that has to do with time, in a bubble where time is virtual.

// pairInBubble are two ports connected both ways, with the recorders of both.
func pairInBubble(t *testing.T, cfg Config) (a, b *Port, ra, rb *recorder) {
	t.Helper()
	a, b, ra, rb = twoPortsWith(t, cfg)
	connect(t, a, b)
	connect(t, b, a)
	synctest.Wait()
	return a, b, ra, rb
}

func TestIdleConnectionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ra, rb := pairInBubble(t, Config{})
		for range 15 {
			time.Sleep(time.Minute)
			for _, heard := range []time.Time{a.LastKeepAlive(mate), b.LastKeepAlive(self)} {
				if silence := time.Since(heard); silence > 2*defaultKeepAlive {
					t.Fatalf("silence of %v on an idle connection, want at most %v", silence, 2*defaultKeepAlive)
				}
			}
		}
		if n := len(ra.told().ended) + len(rb.told().ended); n > 0 {
			t.Errorf("%d connections ended: %v %v", n, ra.told().ended, rb.told().ended)
		}
		const perDirection = 900 * 5 * 350 // 5 keep-alives a second, each with an echo and an ack
		if s := a.Stats(nil)[0]; s.BytesSent > 2*perDirection {
			t.Errorf("%d bytes in an idle quarter of an hour, want at most %d", s.BytesSent, 2*perDirection)
		}
		a.Close()
		b.Close()
	})
}

// Send reads the clock before it takes the connection's lock: by then a later
// keep-alive may have left, and come back.
func TestKeepAliveOfLateCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ra, rb := pairInBubble(t, Config{})
		time.Sleep(time.Minute)
		synctest.Wait()
		c := a.peer(mate).send.Load()
		for _, late := range []time.Duration{time.Millisecond, 0, time.Second} {
			c.mu.Lock()
			c.probe = true
			at := c.lastProbe
			c.mu.Unlock()
			c.kick(at - int64(late))
			synctest.Wait()
			c.mu.Lock()
			if c.lastProbe <= at || c.lastEcho != c.lastProbe {
				t.Errorf("%v late: keep-alive %d after %d, %d came back", late, c.lastProbe, at, c.lastEcho)
			}
			c.mu.Unlock()
		}
		for _, r := range []*recorder{ra, rb} {
			if why := r.told().ended; len(why) > 0 {
				t.Errorf("ended by %v", why)
			}
		}
		a.Close()
		b.Close()
	})
}

func TestLastKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{}, r)
		out, _ := attachSend(t, p, checked)
		go drain(out)
		time.Sleep(time.Second)
		if got := p.LastKeepAlive(mate); !got.IsZero() {
			t.Errorf("heard at %v; acks do not count, and nothing else came", got)
		}
		w := &wire{tb: t, has: fabric.HasCRC}
		in, _ := attachReceive(t, p, checked, w.encode(fabric.KindCredit, 0, 0, opens(1)))
		w.c = in
		go drain(in)
		synctest.Wait()
		for _, kind := range []fabric.Kind{fabric.KindKeepalive, fabric.KindData} {
			time.Sleep(time.Second)
			w.write(kind, fabric.LaneAppend, 1, make([]byte, 8))
			synctest.Wait()
			if got := p.LastKeepAlive(mate); !got.Equal(time.Now()) {
				t.Errorf("after kind %d heard at %v, want %v", kind, got, time.Now())
			}
		}
		p.Close()
	})
}

// A connection on which nothing comes ends at IdleTimeout, in either direction.
func TestSilentPeer(t *testing.T) {
	for _, d := range []Direction{Sending, Receiving} {
		t.Run(d.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				p := newTestPort(t, Config{}, r)
				start := time.Now()
				var far net.Conn
				var done <-chan struct{}
				if d == Sending {
					far, done = attachSend(t, p, checked)
				} else {
					far, done = attachReceive(t, p, checked, nil)
				}
				go drain(far)
				<-done
				took := time.Since(start)
				if took < defaultIdleTimeout || took > defaultIdleTimeout+2*p.cfg.tick() {
					t.Errorf("closed after %v of silence, want %v", took, defaultIdleTimeout)
				}
				if e := r.told().ended; len(e) != 1 || !errors.Is(e[0], ErrSilent) || e[0].Direction != d {
					t.Errorf("ended: %v, want ErrSilent", e)
				}
				p.Close()
			})
		})
	}
}

// A peer that reads nothing breaks the connection in bounded time; its tickets
// are lost (F2).
func TestStuckPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{TicketTimeout: time.Second}, r)
		_, done := attachSend(t, p, checked)
		start := time.Now()
		mustSend(t, p, frameTo(mate, fabric.LaneAppend, 1, nil))
		<-done
		if took := time.Since(start); took > time.Second+2*p.cfg.tick() {
			t.Errorf("the stuck connection ended after %v, want TicketTimeout", took)
		}
		checkTimedOut(t, r.told().settled, 1)
		p.Close()
	})
}

func checkTimedOut(t *testing.T, settled []fabric.Resolution, n int) {
	t.Helper()
	if len(settled) != n {
		t.Errorf("%d tickets resolved, want %d: %+v", len(settled), n, settled)
	}
	for _, s := range settled {
		if !errors.Is(s.Err, fabric.ErrTimeout) || !errors.Is(s.Err, fabric.ErrLost) {
			t.Errorf("resolution %+v, want lost with ErrTimeout", s)
		}
	}
}

// A peer that takes all in and acks nothing.
func TestNoAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{TicketTimeout: time.Second}, r)
		far, done := attachSend(t, p, checked)
		w := &wire{tb: t, c: far, has: fabric.HasCRC}
		go func() { // a live peer: it sends keep-alives back
			for {
				f, err := w.read()
				if err != nil {
					return
				}
				if f.Kind == fabric.KindKeepalive {
					far.Write(w.encode(fabric.KindKeepalive, 0, 0, f.Body))
				}
			}
		}()
		time.Sleep(10 * time.Second) // idle it stays
		start := time.Now()
		mustSend(t, p, frameTo(mate, fabric.LaneControl, 1, nil), frameTo(mate, fabric.LaneBulk, 2, nil))
		<-done
		if took := time.Since(start); took < time.Second || took > time.Second+2*p.cfg.tick() {
			t.Errorf("tickets resolved after %v, want TicketTimeout", took)
		}
		checkTimedOut(t, r.told().settled, 2)
		p.Close()
	})
}

// Nor can a sender that does not take acks.
func TestStuckAckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{TicketTimeout: time.Second}, r)
		w := &wire{tb: t, has: fabric.HasCRC}
		far, done := attachReceive(t, p, checked, w.encode(fabric.KindCredit, 0, 0, opens(1)))
		w.c = far
		for range 30 { // the peer is alive, but takes no acks
			if _, err := far.Write(w.encode(fabric.KindKeepalive, 0, 0, u64(1))); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		<-done
		if e := r.told().ended; len(e) != 1 || !errors.Is(e[0], fabric.ErrTimeout) {
			t.Errorf("ended: %v, want ErrTimeout", e)
		}
		p.Close()
	})
}

// A handler may take its time (duty 3): the peer is told that this member
// lives, what was handed over is acked, and nothing ends.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ra, rb := pairInBubble(t, Config{})
		gate := make(chan struct{})
		rb.with(func() { rb.gate = gate })
		mustSend(t, a, frameTo(mate, fabric.LaneAppend, 1, nil))
		time.Sleep(2 * defaultAckDelay)
		if got := ra.told().settled; len(got) != 1 || !got[0].Acked() {
			t.Errorf("resolved %+v while the handler has the frame, want acked", got)
		}
		time.Sleep(time.Minute)
		close(gate)
		time.Sleep(time.Second)
		if n := len(ra.told().ended) + len(rb.told().ended); n > 0 {
			t.Errorf("connections ended while a handler took a minute: %v %v", ra.told().ended, rb.told().ended)
		}
		a.Close()
		b.Close()
	})
}

// The same for Resolve.
func TestSlowResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ra, rb := pairInBubble(t, Config{})
		gate := make(chan struct{})
		ra.with(func() { ra.resolved = func([]fabric.Resolution) { <-gate } })
		mustSend(t, a, frameTo(mate, fabric.LaneAppend, 1, nil))
		time.Sleep(time.Minute)
		close(gate)
		time.Sleep(time.Second)
		if n := len(ra.told().ended) + len(rb.told().ended); n > 0 {
			t.Errorf("connections ended while Resolve took a minute: %v %v", ra.told().ended, rb.told().ended)
		}
		a.Close()
		b.Close()
	})
}

// Frames that wait behind others for longer than TicketTimeout are given up and
// named to the receiver; the connection goes on (F1, F2).
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{TicketTimeout: time.Second}
		cfg.Queues[fabric.LaneAppend] = Queue{Bytes: 1 << 20, Window: 50 << 10}
		r := &recorder{}
		p := newTestPort(t, cfg, r)
		far, _ := attachSend(t, p, checked)
		w := &wire{tb: t, c: far, has: fabric.HasCRC}
		a := ack{lane: [fabric.Lanes]laneAck{{next: 1}, {next: 1}, {next: 1}}}
		taken := func(f fabric.Frame, n uint64) {
			l := &a.lane[fabric.LaneAppend]
			l.next = f.Link + n
			l.bytes += uint64(fabric.FrameSize(&f.Header, nil, f.Body))
		}
		ackNow := func() { w.write(fabric.KindAck, 0, 0, a.append(nil)) }
		for i := range uint64(10) {
			mustSend(t, p, frameTo(mate, fabric.LaneAppend, i+1, make([]byte, 40<<10)))
		}
		wire := func(f fabric.Frame, link uint64) {
			t.Helper()
			if f.Kind != fabric.KindData || f.Link != link {
				t.Fatalf("kind %d, frame %d, want data %d", f.Kind, f.Link, link)
			}
			taken(f, 1)
		}
		wire(w.next(fabric.KindData, fabric.KindVoid), 1) // one window full
		time.Sleep(700 * time.Millisecond)
		ackNow()
		wire(w.next(fabric.KindData, fabric.KindVoid), 2)
		time.Sleep(200 * time.Millisecond)
		mustSend(t, p, frameTo(mate, fabric.LaneAppend, 11, make([]byte, 40<<10)))
		void := w.next(fabric.KindData, fabric.KindVoid)
		if count := binary.LittleEndian.Uint64(void.Body); void.Kind != fabric.KindVoid || void.Link != 3 || count != 8 {
			t.Fatalf("kind %d at %d, %d bytes; want a void of 8 at 3", void.Kind, void.Link, len(void.Body))
		}
		synctest.Wait()
		checkTimedOut(t, r.told().settled[1:], 8)
		taken(void, 8)
		ackNow()
		wire(w.next(fabric.KindData, fabric.KindVoid), 11)
		ackNow()
		synctest.Wait()
		got := r.told()
		for _, s := range got.settled {
			if lost := s.Ticket >= 3 && s.Ticket <= 10; lost == s.Acked() {
				t.Errorf("resolution %+v", s)
			}
		}
		if len(got.settled) != 11 || len(got.ended) != 0 {
			t.Errorf("%d tickets resolved, want 11; ended: %v", len(got.settled), got.ended)
		}
		if s := p.Stats(nil)[0].Lane[fabric.LaneAppend]; s.Queued != 0 || s.QueuedBytes != 0 || s.Lost != 8 || s.Acked != 3 {
			t.Errorf("append lane %+v", s)
		}
		p.Close()
	})
}

// A process that was stopped does not take the time for its peers' silence.
func TestStoppedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{TicketTimeout: time.Second, IdleTimeout: time.Hour}, r)
		out, _ := attachSend(t, p, checked)
		go drain(out)
		in, _ := attachReceive(t, p, checked, nil)
		go drain(in)
		mustSend(t, p, frameTo(mate, 0, 1, nil))
		late := p.now() + int64(2*time.Hour)
		p.peer(mate).tick(late, late-1) // the watch has seen that it did not run
		synctest.Wait()
		if got := r.told(); len(got.ended) != 0 || len(got.settled) != 0 {
			t.Errorf("ended: %v, resolved %+v; nobody but this process was late", got.ended, got.settled)
		}
		p.peer(mate).tick(late, 0) // and here that it did
		synctest.Wait()
		if got := r.told(); len(got.ended) != 2 || len(got.settled) != 1 {
			t.Errorf("ended: %v, resolved %+v; want both connections and the ticket", got.ended, got.settled)
		}
		p.Close()
	})
}

func TestAckDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{}, r)
		w := &wire{tb: t, has: fabric.HasCRC}
		w.c, _ = attachReceive(t, p, checked, w.encode(fabric.KindCredit, 0, 0, opens(1)))
		w.next(fabric.KindAck) // of the opening
		start := time.Now()
		for i := range uint64(3) {
			w.write(fabric.KindData, fabric.LaneAppend, i+1, nil)
			time.Sleep(time.Millisecond)
		}
		a, _ := parseAck(w.next(fabric.KindAck).Body)
		if took := time.Since(start); took != defaultAckDelay || a.lane[fabric.LaneAppend].next != 4 {
			t.Errorf("ack up to %d after %v, want one for all three after %v", a.lane[fabric.LaneAppend].next, took, defaultAckDelay)
		}
		// One that the sender may wait for goes at once.
		start = time.Now()
		var b []byte
		for i := range uint64(defaultFrames / 8) {
			b = append(b, w.encode(fabric.KindData, fabric.LaneAppend, i+4, nil)...)
		}
		go w.c.Write(b)
		a, _ = parseAck(w.next(fabric.KindAck).Body)
		if took := time.Since(start); took != 0 || a.lane[fabric.LaneAppend].next != 4+defaultFrames/8 {
			t.Errorf("ack up to %d after %v, want all at once", a.lane[fabric.LaneAppend].next, took)
		}
		p.Close()
	})
}

func publish(t *testing.T, p *Port, version uint64, prompt ...fabric.MemberID) {
	t.Helper()
	row := fabric.Row{Owner: self, Incarnation: 1, Version: version, Sections: fabric.AppendSection(nil, fabric.Section{ID: 1, Value: u64(version)})}
	if err := p.Publish(row, prompt); err != nil {
		t.Fatal(err)
	}
}

func TestRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, rb := pairInBubble(t, Config{})
		arrives := func(version uint64, within time.Duration) {
			t.Helper()
			start := time.Now()
			for {
				synctest.Wait()
				rows := rb.told().rows
				if n := len(rows); n > 0 && rows[n-1].Version == version {
					break
				}
				if time.Since(start) >= time.Minute {
					t.Fatalf("row %d does not arrive: %+v", version, rows)
				}
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(start); took != within {
				t.Errorf("row %d arrived after %v, want %v", version, took, within)
			}
		}
		publish(t, a, 1, mate)
		arrives(1, 0)
		time.Sleep(1050 * time.Millisecond) // between two keep-alives
		publish(t, a, 2)
		arrives(2, defaultRowInterval)
		publish(t, a, 3)
		mustSend(t, a, frameTo(mate, 0, 1, nil)) // takes it along
		arrives(3, 0)
		time.Sleep(1050 * time.Millisecond) // between two keep-alives
		for v := uint64(4); v < 100; v++ {
			publish(t, a, v)
		}
		arrives(99, defaultRowInterval)
		if n := len(rb.told().rows); n != 4 {
			t.Errorf("%d rows arrived, want 4: the newest wins", n)
		}
		connect(t, a, b) // the row goes to a new connection again, and is not news there
		synctest.Wait()
		publish(t, a, 100, mate)
		arrives(100, 0)
		if n := len(rb.told().rows); n != 5 {
			t.Errorf("%d rows arrived, want 5: none twice", n)
		}
		a.Close()
		b.Close()
	})
}

// At most rowWindow rows are on the wire to a receiver that does not take them
// in (P5).
func TestRowWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{}, r)
		far, _ := attachSend(t, p, checked)
		w := &wire{tb: t, c: far, has: fabric.HasCRC}
		rows := make(chan fabric.Row, 1000)
		go func() {
			for {
				f, err := w.read()
				if err != nil {
					return
				}
				if f.Kind == fabric.KindRow {
					row, _ := fabric.ParseRow(f.Body)
					rows <- row
				}
			}
		}()
		for v := range uint64(500) {
			publish(t, p, v+1, mate)
			synctest.Wait()
		}
		if n := len(rows); n != rowWindow {
			t.Errorf("%d rows on the wire, want %d", n, rowWindow)
		}
		a := ack{lane: [fabric.Lanes]laneAck{{next: 1}, {next: 1}, {next: 1}}, rows: 1}
		w.write(fabric.KindAck, 0, 0, a.append(nil))
		synctest.Wait()
		if n := len(rows); n != rowWindow+1 {
			t.Errorf("%d rows after an ack, want %d", n, rowWindow+1)
		}
		for range rowWindow {
			<-rows
		}
		if row := <-rows; row.Version != 500 {
			t.Errorf("version %d follows the ack, want the newest", row.Version)
		}
		p.Close()
	})
}

// What is not the link's business does not reach the handler twice, and the
// queue of link events is bounded.
func TestLinkEventsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := newTestPort(t, Config{}, r)
		q := p.peer(mate)
		q.right <- struct{}{} // a handler call runs
		for range 10 {
			out, done := attachSend(t, p, checked)
			out.Close()
			<-done
		}
		out, _ := attachSend(t, p, checked)
		go drain(out)
		if n := len(q.events); n > maxEvents {
			t.Errorf("%d events are queued, at most %d", n, maxEvents)
		}
		<-q.right
		synctest.Wait()
		links := r.told().links
		if n := len(links); n != 2 || links[0].Up || links[0].Err == nil || !links[1].Up {
			t.Errorf("links %+v, want down with a reason, then up", links)
		}
		p.Close()
	})
}

// Messages that time out somewhere are not the same as those that are refused.
func TestEndErrorText(t *testing.T) {
	err := error(&EndError{mate, Sending, ErrSilent})
	if want := "stream: sending connection of peer 2: silent for longer than the idle timeout"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if errors.Is(err, ErrProtocol) || !errors.Is(ErrForgedAck, ErrProtocol) || !errors.Is(malformed(fabric.ErrVersion), ErrProtocol) {
		t.Error("ErrProtocol is for what only a faulty peer does")
	}
	if Receiving.String() != "receiving" {
		t.Error(Receiving)
	}
}
