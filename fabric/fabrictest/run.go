package fabrictest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// testCase is one line of the contract.
type testCase struct {
	name    string
	quote   string // the contract's words
	members int
	opt     Options // what differs from defaultOptions
	needs   []Ability
	fn      func(*env)
}

var defaultOptions = Options{
	TicketTimeout: 5 * time.Second,
	QueueBytes:    256 << 10,
	MaxFrame:      64 << 10,
	RowInterval:   20 * time.Millisecond,
}

// shortTicket is used where a case waits until tickets time out.
var shortTicket = Options{TicketTimeout: 500 * time.Millisecond}

func (c *testCase) options() Options {
	o, d := c.opt, defaultOptions
	if o.TicketTimeout == 0 {
		o.TicketTimeout = d.TicketTimeout
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = d.QueueBytes
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = d.MaxFrame
	}
	if o.RowInterval == 0 {
		o.RowInterval = d.RowInterval
	}
	return o
}

func allCases() []testCase {
	return slices.Concat(orderCases, ticketCases, creditCases, refusalCases, rowCases, handlerCases, lifeCases, closeCases, reportCases)
}

// Cases lists the names of all cases.
func Cases() []string {
	var names []string
	for _, c := range allCases() {
		names = append(names, c.name)
	}
	return names
}

// Run runs every case against the ports that f makes.
func Run(t *testing.T, f Factory) {
	for _, c := range allCases() {
		t.Run(c.name, func(t *testing.T) { c.run(t, f) })
	}
}

func (c *testCase) run(tb testing.TB, f Factory) {
	if f.Slack == 0 {
		f.Slack = 5 * time.Second
	}
	if f.Patience == 0 {
		f.Patience = 15 * time.Second
	}
	for _, a := range c.needs {
		if why := f.Lacks[a]; why != "" {
			tb.Skipf("SKIPPED: missing here: %s lacks %q: %s", f.Name, a, why)
		}
	}
	tb.Logf("contract: %s", c.quote)
	e := newEnv(tb, &f, c)
	c.fn(e)
	e.finish()
}

// Violation is what a case found.
type Violation struct{ Case, Message string }

// Violations runs the named cases (all if none are named) and returns what they
// find, instead of failing tb.
func Violations(tb testing.TB, f Factory, names ...string) []Violation {
	var found []Violation
	ran := 0
	for _, c := range allCases() {
		if len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		ran++
		r := &recorder{TB: tb, name: c.name}
		r.do(func() { c.run(r, f) })
		for _, m := range r.messages {
			found = append(found, Violation{c.name, m})
		}
	}
	if ran == 0 {
		tb.Fatalf("fabrictest has none of the cases %q", names)
	}
	return found
}

// recorder is a testing.TB that keeps failures to itself.
type recorder struct {
	testing.TB
	name string

	mu       sync.Mutex
	failed   bool
	skipped  bool
	messages []string
	cleanups []func()
}

// do runs f, which may end by FailNow or SkipNow, and then the cleanups.
func (r *recorder) do(f func()) {
	for _, f := range append([]func(){f}, func() { r.cleanUp() }) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
}

func (r *recorder) cleanUp() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		f()
	}
}

func (r *recorder) fail(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.messages = append(r.messages, strings.TrimSpace(message))
}

func (r *recorder) Name() string              { return r.name }
func (r *recorder) Log(...any)                {}
func (r *recorder) Logf(string, ...any)       {}
func (r *recorder) Error(a ...any)            { r.fail(fmt.Sprintln(a...)) }
func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }
func (r *recorder) Fail()                     { r.fail("failed") }
func (r *recorder) FailNow()                  { r.fail("failed"); runtime.Goexit() }
func (r *recorder) Fatal(a ...any)            { r.Error(a...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) Skip(...any)               { r.SkipNow() }
func (r *recorder) Skipf(string, ...any)      { r.SkipNow() }

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// memberIDs are neither dense nor small: a port must not take them for ranks.
func memberIDs(n int) []fabric.MemberID {
	ids := make([]fabric.MemberID, n)
	for i := range ids {
		ids[i] = fabric.MemberID(0x8211_f1d0_f64f_3269 + uint64(i)*0x1f_3a5b_7c9d)
	}
	return ids
}
