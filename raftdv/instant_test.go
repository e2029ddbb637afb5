package raftdv

import (
	"strings"
	"testing"
	"time"
)

func TestInstant(t *testing.T) {
	var i instant
	now := time.Now()
	if at, ok := i.get(); ok || i.within(time.Hour) || i.due(now) {
		t.Errorf("never is %v", at)
	}
	for _, at := range []time.Time{now, origin, now.Add(-time.Hour)} {
		i.set(at)
		got, ok := i.get()
		if d := got.Sub(at); !ok || d < 0 || d > 1 {
			t.Errorf("set to %v, it is %v", at, got)
		}
		if !strings.Contains(got.String(), " m=") {
			t.Errorf("%v follows the wall clock", got)
		}
	}
	if i.within(30*time.Minute) || !i.within(2*time.Hour) {
		t.Error("it was an hour ago")
	}
	if i.clear(); i.within(2 * time.Hour) {
		t.Error("cleared, it was some time ago")
	}
	i.set(now)
	if i.due(now.Add(-1)) || !i.due(now) || i.due(now) {
		t.Error("want it to come once")
	}
	if !i.every(now, time.Second) || i.every(now.Add(time.Second-1), time.Second) || !i.every(now.Add(time.Second), time.Second) {
		t.Error("want it once in a second")
	}
}
