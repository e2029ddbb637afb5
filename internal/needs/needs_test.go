package needs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A fake notes how a test ends, and goes on.
type fake struct {
	testing.TB
	skipped, failed string
}

func (f *fake) Helper()                   {}
func (f *fake) Skip(args ...any)          { f.skipped += fmt.Sprint(args...) }
func (f *fake) Skipf(s string, a ...any)  { f.skipped += fmt.Sprintf(s, a...) }
func (f *fake) Fatalf(s string, a ...any) { f.failed += fmt.Sprintf(s, a...) }

var (
	here = Need{"air", func() error { return nil }}
	gone = Need{"cake", func() error { return errors.New("eaten") }}
)

// TestRefused: what refuses to run although all that it needs is there is a
// failure, and only what is missing is an excuse, by name.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		needs           []Need
		skipped, failed string
	}{
		{[]Need{here}, "", "air): no party"},
		{nil, "", "no party"},
		{[]Need{here, gone}, "missing here: cake (eaten) (no party)", ""},
	} {
		f := &fake{}
		Refused(f, "no party", c.needs...)
		if (f.failed == "") != (c.failed == "") || (f.skipped == "") != (c.skipped == "") || !strings.Contains(f.skipped, c.skipped) || !strings.Contains(f.failed, c.failed) {
			t.Errorf("%v: skipped %q, failed %q", c.needs, f.skipped, f.failed)
		}
	}
}

func TestAll(t *testing.T) {
	f := &fake{}
	All(f, here)
	if f.skipped != "" {
		t.Error(f.skipped)
	}
	All(f, here, gone)
	if !strings.HasSuffix(f.skipped, "missing here: cake (eaten)") {
		t.Error(f.skipped)
	}
}

// TestAsked: a test that was asked for runs.
func TestAsked(t *testing.T) {
	const variable = "RAFTDV_NEEDS_TEST"
	f := &fake{}
	Asked(f, variable, "make cake")
	if !strings.Contains(f.skipped, variable) && !testing.Short() || !strings.Contains(f.skipped, "make cake") {
		t.Errorf("not asked for: skipped %q", f.skipped)
	}
	t.Setenv(variable, "1")
	f = &fake{}
	if Asked(f, variable, "make cake"); f.skipped != "" && !testing.Short() {
		t.Errorf("asked for: skipped %q", f.skipped)
	}
}

// TestProbes: probes say that what is there is there, and that what nobody has is not.
func TestProbes(t *testing.T) {
	for _, n := range Programs("sh") {
		if err := n.Probe(); err != nil {
			t.Error(err)
		}
	}
	for _, n := range append(Programs("raftdv-no-such-program"), LoopbackMTU(1<<30)) {
		if n.Probe() == nil {
			t.Errorf("%s is there", n.Name)
		}
	}
	if err := LoopbackMTU(1000).Probe(); err != nil {
		t.Error(err)
	}
	if got := Root().Probe() == nil; got != (os.Getuid() == 0) {
		t.Errorf("root: %v", got)
	}
}
