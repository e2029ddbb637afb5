package udp

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

const testBeat = int64(17 * time.Millisecond)

// promptRow publishes a row that leaves now.
func promptRow(n *simNode) {
	n.publish()
	n.l.rowAt = n.s.now
	n.settleDown()
}

// beats publishes n rows, one each testBeat.
func beats(s *sim, a *simNode, n int) {
	for range n {
		promptRow(a)
		s.run(s.now + testBeat)
	}
}

// A stream of rows costs hardly any acknowledgement; its end is acknowledged.
func TestRowsAskSeldom(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	const n = 20 * rowAskEvery
	rows, answers := a.l.stats.RowsSent, b.l.stats.DatagramsSent
	beats(s, a, n)
	rows, answers = a.l.stats.RowsSent-rows, b.l.stats.DatagramsSent-answers
	if rows < n || rows > n+n/rowAskEvery {
		t.Errorf("%d rows sent for %d published", rows, n)
	}
	if answers < n/rowAskEvery || answers > 2*n/rowAskEvery+5 { // pings among them
		t.Errorf("%d datagrams in answer to %d rows", answers, rows)
	}
	if b.rowSeen != a.rows {
		t.Errorf("row %d of %d", b.rowSeen, a.rows)
	}
	s.run(s.now + 100*ms)
	if a.l.rowAcked != a.l.rowSeq {
		t.Error("P5: the last row is not acknowledged")
	}
	rows = a.l.stats.RowsSent
	s.run(s.now + 5000*ms)
	if n := a.l.stats.RowsSent - rows; n != 0 {
		t.Errorf("%d rows sent after the newest was acknowledged", n)
	}
}

// loseRow publishes a row that is lost, and returns how long the path then took
// to bring it.
func loseRow(s *sim, a, b *simNode) int64 {
	a.out.dead = true
	promptRow(a)
	lost := s.now
	s.run(lost + 5*ms)
	a.out.dead = false
	for b.rowSeen != a.rows && s.now < lost+1000*ms {
		s.run(s.now + ms)
	}
	return s.now - lost
}

// P5: the last row of a stream arrives although it was lost and had not asked.
func TestLastRowOfAStreamArrives(t *testing.T) {
	for n := range 2*rowAskEvery + 1 {
		s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
		beats(s, a, n)
		// A probe timeout, the delay of the path, the grain of the wait.
		if took := loseRow(s, a, b); took > a.l.rtt.pto()+5*ms {
			t.Errorf("the row after %d others was lost and came after %v, the probe timeout is %v", n, time.Duration(took), time.Duration(a.l.rtt.pto()))
		}
	}
}

// slowBeats publishes n rows as idle members do, and counts those that ask.
func slowBeats(s *sim, a *simNode, n int, tamper func(*rowAsk)) (asked int) {
	for range n {
		tamper(&a.l.rowAsk)
		promptRow(a)
		if a.l.rowAsk.silent == 0 {
			asked++
		}
		s.run(s.now + int64(167*time.Millisecond))
	}
	return asked
}

// A slow stream costs as little, and its last row arrives as well.
func TestSlowStreamsOfRows(t *testing.T) {
	honest := func(*rowAsk) {}
	for lost := range 2 * rowAskEvery {
		s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
		slowBeats(s, a, 2*rowRegular+lost, honest)
		rows := a.l.stats.RowsSent
		const n = 10 * rowAskEvery
		asked := slowBeats(s, a, n, honest)
		if rows = a.l.stats.RowsSent - rows; rows != n || asked != n/rowAskEvery {
			t.Errorf("%d rows sent for %d published, %d of them asked", rows, n, asked)
		}
		if took := loseRow(s, a, b); took > int64(rowPause)+a.l.rtt.pto()+5*ms {
			t.Errorf("the last row was lost and came after %v", time.Duration(took))
		}
	}
}

// The control: a link that forgets that its rows come regularly asks each time.
func TestSlowStreamsSeesMistakes(t *testing.T) {
	s, a, _ := upPair(t, simFaults{delay: time.Millisecond}, nil)
	if asked := slowBeats(s, a, 50, func(r *rowAsk) { r.regular = 0 }); asked != 50 {
		t.Errorf("%d of 50 rows asked", asked)
	}
}

// Without the wish for an acknowledgement in the end it does not.
func TestLastRowSeesMistakes(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	beats(s, a, 3)
	a.out.dead = true
	promptRow(a)
	a.l.rowAsk.at = farFuture
	s.run(s.now + 5*ms)
	a.out.dead = false
	s.run(s.now + 500*ms)
	if b.rowSeen == a.rows {
		t.Error("a row that nobody sends again arrived")
	}
}

// What is acknowledged with others is not asked for, and rows that do not ask
// hide no round trip.
func TestRowsBesideFrames(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	beats(s, a, 3)
	samples, rows := 0, a.l.stats.RowsSent
	for range 50 {
		a.l.rtt.latest = 0
		a.send(fabric.LaneControl, 100, 0)
		a.settleDown()
		promptRow(a)
		s.run(s.now + 40*ms)
		if a.l.rtt.latest != 0 {
			samples++
		}
	}
	if n := a.l.stats.RowsSent - rows; n > 52 {
		t.Errorf("%d rows sent for 50 published", n)
	}
	if samples < 45 {
		t.Errorf("%d round trips measured with 50 frames", samples)
	}
	if b.rowSeen != a.rows || a.l.rowAcked != a.l.rowSeq {
		t.Errorf("row %d of %d, acknowledged %d", b.rowSeen, a.rows, a.l.rowAcked)
	}
}

// A row that is withheld leaves no timer behind that is always due.
func TestWithheldRowsAreNotAskedFor(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond}, nil)
	beats(s, a, 3)
	promptRow(a)
	a.l.withheld = true
	seen := b.rowSeen
	promptRow(a)
	s.run(s.now + 500*ms) // fails if a deadline is not met
	if b.rowSeen > seen+1 {
		t.Errorf("row %d came while rows were withheld after %d", b.rowSeen, seen)
	}
	a.l.withheld = false
	a.l.rowAt = min(a.l.rowAt, s.now)
	a.settleDown()
	s.run(s.now + 50*ms)
	if b.rowSeen != a.rows {
		t.Errorf("row %d of %d", b.rowSeen, a.rows)
	}
}

// With losses rows stay as fresh as the next beats make them.
func TestRowsThroughLoss(t *testing.T) {
	s, a, b := upPair(t, simFaults{delay: time.Millisecond, jitter: 2 * time.Millisecond, loss: 0.2}, nil)
	const n, latest = 1000, 6
	for range n {
		beats(s, a, 1)
		if behind := a.rows - b.rowSeen; behind > latest { // 0.2^7: once in 80,000
			t.Errorf("%d rows behind", behind)
		}
	}
	s.run(s.now + 1000*ms)
	if b.rowSeen != a.rows {
		t.Errorf("row %d of %d", b.rowSeen, a.rows)
	}
}
