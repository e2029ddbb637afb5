package needs

import (
	"runtime"
	"testing"
	"time"
)

// TestPace: what is wrong at a good pace fails, what is wrong at a bad one does
// not, and what was right once is right.
func TestPace(t *testing.T) {
	bad := func() []string { return []string{"bad"} }
	if f := try(t, time.Hour, bad); f.failed == "" || f.skipped != "" {
		t.Errorf("always wrong, never late: %+v", f)
	}
	if f := try(t, -time.Hour, bad); f.failed != "" || f.skipped == "" {
		t.Errorf("always wrong, always late: %+v", f)
	}
	n := 0
	f := try(t, time.Hour, func() []string {
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

func try(t *testing.T, limit time.Duration, run func() []string) (f *fake) {
	t.Helper()
	f = &fake{}
	defer func() {
		if r := recover(); r != nil && r != (stopped{}) {
			panic(r)
		}
	}()
	Pace(stopping{f}, limit, run)
	return f
}
