package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftdv/dv/fabric"
)

// slowLink is a link far slower than what is sent, with queues in front of it
// that nobody can see into.
type slowLink struct {
	rate  int // bytes/s
	delay time.Duration
	last  time.Duration // of the experiment
	meant func(*Port)   // what else happens to the sender every 10 ms

	enough int // bytes
	// results
	filled  time.Duration // when enough had arrived
	busy    float64       // share of the rate that was used
	control time.Duration // longest way of a control frame after the first quarter
	ended   int           // connections
}

// run sends as much as there is credit for in the append and bulk lanes, and a
// control frame every 10 ms.
func (l *slowLink) run(t *testing.T) {
	a, b, ra, rb := twoPortsWith(t, Config{TicketTimeout: 2 * time.Second})
	near, far := slowPipe(l.rate, l.delay)
	if _, err := a.AttachSend(mate, Session{PeerIncarnation: 1}, near, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AttachReceive(self, Session{PeerIncarnation: 1}, far, nil); err != nil {
		t.Fatal(err)
	}
	start, sentAt, arrived := time.Now(), map[uint64]time.Time{}, 0
	rb.with(func() {
		rb.deliver = func(_ fabric.MemberID, frames []fabric.Frame) {
			rb.with(func() {
				rb.frames, rb.events = rb.frames[:0], rb.events[:0] // no need to keep gigabytes
				for _, f := range frames {
					if arrived += len(f.Body); arrived >= l.enough && l.filled == 0 {
						l.filled = time.Since(start)
					}
					if f.Lane == fabric.LaneControl && time.Since(start) > l.last/4 {
						l.control = max(l.control, time.Since(sentAt[f.Stream]))
					}
				}
			})
		}
	})
	body := make([]byte, 16<<10)
	for n := uint64(1); time.Since(start) < l.last; n++ {
		rb.with(func() { sentAt[n] = time.Now() })
		a.Send([]fabric.Outgoing{frameTo(mate, fabric.LaneControl, n, nil)})
		for _, lane := range []fabric.Lane{fabric.LaneAppend, fabric.LaneBulk} {
			for a.Send([]fabric.Outgoing{frameTo(mate, lane, 0, body)}) == nil {
			}
		}
		if l.meant != nil {
			l.meant(a)
		}
		time.Sleep(10 * time.Millisecond)
	}
	rb.with(func() { l.busy = float64(arrived) / (float64(l.rate) * time.Since(start).Seconds()) })
	l.ended = len(ra.told().ended) + len(rb.told().ended)
	a.Close()
	b.Close()
	time.Sleep(time.Second) // what is on the way
	t.Logf("link %.0f%% busy, longest way of a control frame %v, %d connections ended", l.busy*100, l.control, l.ended)
}

// The connection stays up, the link stays busy as far as the windows reach, and
// control frames do not wait behind the backlog.
func TestSlowLink(t *testing.T) {
	for name, l := range map[string]*slowLink{
		"10 Mbit/s, 5 ms":    {rate: 10e6 / 8, delay: 5 * time.Millisecond, last: 5 * time.Second},
		"100 Mbit/s, 40 ms":  {rate: 100e6 / 8, delay: 40 * time.Millisecond, last: 4 * time.Second},
		"1 Gbit/s, 100 ms":   {rate: 1e9 / 8, delay: 100 * time.Millisecond, last: 4 * time.Second},
		"10 Gbit/s, 0.05 ms": {rate: 10e9 / 8, delay: 50 * time.Microsecond, last: time.Second / 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, l.run)
			if bound := l.delay + 4*queueTarget; l.control > bound || l.ended > 0 {
				t.Errorf("a control frame took %v, want at most %v; %d connections ended", l.control, bound, l.ended)
			}
			reach := float64(defaultAppendWindow) / 2 / (2 * l.delay.Seconds()) / float64(l.rate)
			if want := min(0.7, reach); l.busy < want {
				t.Errorf("the link is %.0f%% busy, want at least %.0f%%", l.busy*100, want*100)
			}
		})
	}
}

// With windows that do not follow the link the test above fails.
func TestSlowLinkNegativeControl(t *testing.T) {
	l := slowLink{rate: 10e6 / 8, delay: 5 * time.Millisecond, last: 20 * time.Second}
	l.meant = func(p *Port) {
		if p.peer(mate).send.Load() != nil {
			wideOpen(p)
		}
	}
	synctest.Test(t, l.run)
	if l.control < l.delay+4*queueTarget && l.ended == 0 {
		t.Errorf("a control frame took %v at most, and no connection ended", l.control)
	}
}

// A fast link is used in full after a few round trips, and not before windows grow.
func TestWindowsGrow(t *testing.T) {
	const size, rate, delay = 16 << 20, 10e9 / 8, time.Millisecond
	run := func(meant func(*Port)) time.Duration {
		l := slowLink{rate: rate, delay: delay, last: 2 * time.Second, enough: size, meant: meant}
		synctest.Test(t, l.run)
		return l.filled
	}
	bound := 4*startShift*delay + 2*size*time.Second/rate
	if took := run(nil); took == 0 || took > bound {
		t.Errorf("%d bytes took %v, want at most %v", size, took, bound)
	}
	took := run(func(p *Port) {
		c := p.peer(mate).send.Load()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.link.base = -3 * queueTarget / 4 // each round trip seems too long to grow, and not to shrink
	})
	if took != 0 && took < 2*bound {
		t.Errorf("with the windows of the beginning %d bytes took %v", size, took)
	}
}
