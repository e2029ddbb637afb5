package needs

import (
	"runtime"
	"testing"
	"time"
)

// TestPace: what is wrong fails unless it was late while others used the processors;
// what is late by itself is no excuse; and what was right once is right.
func TestPace(t *testing.T) {
	const early, late, idle, busy = time.Hour, -time.Hour, 2., -1.
	bad := func() []string { return []string{"bad"} }
	for name, c := range map[string]struct {
		limit time.Duration
		most  float64
		skips bool
	}{
		"in time, others idle": {early, idle, false}, "in time, others busy": {early, busy, false},
		"late, others idle": {late, idle, false}, "late, others busy": {late, busy, true},
	} {
		if f := try(t, c.limit, c.most, bad); (f.skipped != "") != c.skips || (f.failed != "") == c.skips {
			t.Errorf("%s, always wrong: %+v", name, f)
		}
	}
	n := 0
	f := try(t, early, idle, func() []string {
		if n++; n < paceTries {
			return bad()
		}
		return nil
	})
	if f.failed != "" || f.skipped != "" {
		t.Errorf("right the last time: %+v", f)
	}
}

// TestLateness: a process that does nothing else for a while is late by so much.
func TestLateness(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	worst := Lateness()
	runtime.Gosched()
	const busy = 5 * time.Millisecond // below what the runtime lets one goroutine run
	for begin := time.Now(); time.Since(begin) < busy; {
	}
	if got := worst(); got < busy-2*paceTick {
		t.Errorf("%v busy, and %v late", busy, got)
	}
}

// stopped ends a try as Fatalf and Skipf of a real test do.
type stopped struct{}

type stopping struct{ *fake }

func (s stopping) Logf(string, ...any)            {}
func (s stopping) Skipf(format string, a ...any)  { s.fake.Skipf(format, a...); panic(stopped{}) }
func (s stopping) Fatalf(format string, a ...any) { s.fake.Fatalf(format, a...); panic(stopped{}) }

func try(t *testing.T, limit time.Duration, most float64, run func() []string) (f *fake) {
	t.Helper()
	f = &fake{}
	defer func() {
		if r := recover(); r != nil && r != (stopped{}) {
			panic(r)
		}
	}()
	pace(stopping{f}, limit, most, run)
	return f
}
