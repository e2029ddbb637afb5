package needs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A Need is something that a test may need.
type Need struct {
	Name string
	// Probe returns nil if it is there, and else what it met.
	Probe func() error
}

// All skips the test unless all that it needs is there.
func All(tb testing.TB, all ...Need) {
	tb.Helper()
	if gone := missing(all); gone != "" {
		tb.Skip("SKIPPED: missing here: " + gone)
	}
}

// Refused takes what the code under test said when it refused to run here: the
// test is skipped if something is missing, and fails if nothing is.
func Refused(tb testing.TB, said string, all ...Need) {
	tb.Helper()
	if gone := missing(all); gone != "" {
		tb.Skipf("SKIPPED: missing here: %s (%s)", gone, said)
	} else {
		tb.Fatalf("refused, and nothing that it needs is missing here (%s): %s", names(all), said)
	}
}

// Time skips a test that takes long if -short is set.
func Time(tb testing.TB, what string) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("SKIPPED: -short is set: it " + what)
	}
}

// Asked skips a test that takes more than tests usually do, unless a variable asks for it;
// target is what sets the variable.
func Asked(tb testing.TB, variable, target string) {
	tb.Helper()
	Time(tb, "is for "+target)
	if os.Getenv(variable) == "" {
		tb.Skipf("SKIPPED: missing here: the variable %s, which %s sets", variable, target)
	}
}

func missing(all []Need) string {
	var gone []string
	for _, n := range all {
		if err := n.Probe(); err != nil {
			gone = append(gone, fmt.Sprintf("%s (%v)", n.Name, err))
		}
	}
	return strings.Join(gone, ", ")
}

func names(all []Need) string {
	list := make([]string, len(all))
	for i, n := range all {
		list[i] = n.Name
	}
	return strings.Join(list, ", ")
}

// Root is being root.
func Root() Need {
	return Need{"root", func() error {
		if uid := os.Geteuid(); uid != 0 {
			return fmt.Errorf("the user is %d", uid)
		}
		return nil
	}}
}

// Programs are programs in the PATH, one need each.
func Programs(names ...string) []Need {
	all := make([]Need, len(names))
	for i, name := range names {
		all[i] = Need{"the program " + name, func() error {
			_, err := exec.LookPath(name)
			return err
		}}
	}
	return all
}

// Modules is a source of Go modules. Versions of a module are asked for, which no cache
// on this machine holds.
func Modules() Need {
	return Need{"a source of Go modules", func() error {
		out, err := exec.Command("go", "list", "-m", "-versions", "golang.org/x/sys").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	}}
}

// IPv6 is a loopback interface with an IPv6 address.
func IPv6() Need {
	return Need{"IPv6 on the loopback interface", func() error {
		list, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsLoopback() && n.IP.To4() == nil {
				return nil
			}
		}
		return fmt.Errorf("addresses are %v", list)
	}}
}

// LoopbackMTU is a loopback interface that takes so many bytes at once.
func LoopbackMTU(least int) Need {
	return Need{fmt.Sprintf("a loopback interface that takes %d bytes", least), func() error {
		list, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range list {
			if i.Flags&net.FlagLoopback != 0 && i.MTU >= least {
				return nil
			}
		}
		return fmt.Errorf("interfaces are %+v", list)
	}}
}
