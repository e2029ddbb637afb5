package raftdv

import (
	"math"
	"time"
)

// alarmEvery bounds how often an alarm is set for later. Deadlines of a member that
// idles are mostly of what comes before them, such as the next beat of a peer: an
// alarm that stayed where it was would wake somebody for nothing, and wake-ups are what
// an idle member costs. Under load it would be set anew with each message.
const alarmEvery = 5 * time.Millisecond

// alarm is a timer for the deadline of a state machine, which inputs move. All calls
// but the wait for C are under the lock of the state machine; times are on its clock.
type alarm struct {
	C     <-chan time.Time
	timer *time.Timer
	at    time.Duration // what it is set for
	moved time.Duration // when it was set for later last
}

// newAlarm returns one that rings at once.
func newAlarm() *alarm {
	t := time.NewTimer(0)
	return &alarm{C: t.C, timer: t, at: math.MinInt64}
}

// set has it ring when due, or earlier. Who calls it with each new deadline is never
// woken too late.
func (a *alarm) set(due, now time.Duration) {
	switch {
	case due < a.at:
	case due > a.at && a.at > now && now-a.moved >= alarmEvery:
		a.moved = now
	default:
		return
	}
	a.at = due
	a.timer.Reset(max(due-now, 0))
}

// rang is to be called by whoever C has woken, before it looks for what is due and
// calls set.
func (a *alarm) rang() { a.at = math.MaxInt64 }

func (a *alarm) stop() { a.timer.Stop() }
