package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var errOdd = errors.New("something odd")

// able is a machine that has everything.
func able() *machine {
	return &machine{
		option:   func(string, int, int, int) error { return nil },
		buffer:   func(size int) (int, error) { return size, nil },
		exchange: func(string) error { return nil },
		memory:   func() error { return nil },
		peerUser: func() (int, error) { return 7, nil },
		uid:      7,
		limit:    func() (uint64, error) { return unix.RLIM_INFINITY, nil },
		glob:     func(pattern string) ([]string, error) { return []string{pattern}, nil },
		read:     func(string) ([]byte, error) { return []byte("6.0\n"), nil },
		clock:    func() (bool, time.Duration, error) { return true, time.Microsecond, nil },
		admin:    func() (bool, error) { return true, nil },
		cores:    4,
		load:     func() (float64, error) { return 0.5, nil },
	}
}

// breaks says, for each probe, how a machine answers no, and how it keeps the
// probe from telling.
var breaks = map[string]struct{ no, odd func(*machine) }{
	tcpLoopback: onExchange("tcp"),
	udpSocket:   onExchange("udp"),
	udpSegment:  onOption(unix.IPPROTO_UDP, unix.UDP_SEGMENT),
	udpGRO:      onOption(unix.IPPROTO_UDP, unix.UDP_GRO),
	pathMTU:     onOption(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER),
	sendTime:    onOption(unix.SOL_SOCKET, unix.SO_TXTIME),
	udpBuffers: {
		func(m *machine) { m.buffer = func(int) (int, error) { return 200 << 10, nil } },
		func(m *machine) { m.buffer = func(int) (int, error) { return 0, errOdd } },
	},
	freeCore: {
		func(m *machine) { m.load = func() (float64, error) { return 3.5, nil } },
		func(m *machine) { m.load = func() (float64, error) { return 0, errOdd } },
	},
	sharedMem: {
		func(m *machine) { m.memory = func() error { return unix.ENOSYS } },
		func(m *machine) { m.memory = func() error { return unix.EMFILE } },
	},
	peerUser: {
		func(m *machine) { m.uid = 8 },
		func(m *machine) { m.peerUser = func() (int, error) { return 0, unix.EMFILE } },
	},
	rdmaDevice: onFiles("/sys/class/infiniband/"),
	ptpClock:   onFiles("/dev/ptp"),
	lockedMem: {
		func(m *machine) { m.limit = func() (uint64, error) { return 8 << 20, nil } },
		func(m *machine) { m.limit = func() (uint64, error) { return 0, errOdd } },
	},
	clockSync: {
		func(m *machine) { m.clock = func() (bool, time.Duration, error) { return false, 0, nil } },
		func(m *machine) { m.clock = func() (bool, time.Duration, error) { return false, 0, errOdd } },
	},
	netAdmin: {
		func(m *machine) { m.admin = func() (bool, error) { return false, nil } },
		func(m *machine) { m.admin = func() (bool, error) { return false, errOdd } },
	},
}

type pair = struct{ no, odd func(*machine) }

func onExchange(network string) pair {
	with := func(err error) func(*machine) {
		return func(m *machine) {
			m.exchange = func(n string) error {
				if n == network {
					return err
				}
				return nil
			}
		}
	}
	return pair{with(unix.ENETUNREACH), with(unix.EMFILE)}
}

func onOption(level, name int) pair {
	with := func(err error) func(*machine) {
		return func(m *machine) {
			m.option = func(_ string, l, n, _ int) error {
				if l == level && n == name {
					return err
				}
				return nil
			}
		}
	}
	return pair{with(unix.ENOPROTOOPT), with(unix.EMFILE)}
}

func onFiles(prefix string) pair {
	with := func(err error) func(*machine) {
		return func(m *machine) {
			m.glob = func(pattern string) ([]string, error) {
				if strings.HasPrefix(pattern, prefix) {
					return nil, err
				}
				return []string{pattern}, nil
			}
		}
	}
	return pair{with(nil), with(errOdd)}
}

func answers(m *machine) map[string]Finding {
	all := map[string]Finding{}
	for _, f := range examine(context.Background(), m, probes, fabrics).Findings {
		all[f.Name] = f
	}
	return all
}

// Every probe is asked all three ways, and what breaks one leaves the others.
func TestEveryProbeAnswersAllWays(t *testing.T) {
	if len(breaks) != len(probes) {
		t.Errorf("%d probes, %d of them tested", len(probes), len(breaks))
	}
	for _, p := range probes {
		b, ok := breaks[p.name]
		if !ok {
			t.Errorf("%s is not tested", p.name)
			continue
		}
		for want, change := range map[Answer]func(*machine){Yes: func(*machine) {}, No: b.no, Unknown: b.odd} {
			m := able()
			change(m)
			for name, f := range answers(m) {
				expected := Yes
				if name == p.name {
					expected = want
				}
				if f.Answer != expected || (f.Remedy == "") != (expected == Yes) {
					t.Errorf("%s broken (%s): %+v, want %s", p.name, want, f, expected)
				}
			}
		}
	}
}

func TestVerdicts(t *testing.T) {
	built := []fabric{{name: "x", needs: []string{udpSocket}, likes: []string{udpGRO}}}
	for name, c := range map[string]struct {
		change func(*machine)
		want   State
		miss   []string
	}{
		"all":                {func(*machine) {}, Works, nil},
		"wish denied":        {breaks[udpGRO].no, Limited, nil},
		"wish not known":     {breaks[udpGRO].odd, Limited, nil},
		"need denied":        {breaks[udpSocket].no, Fails, []string{udpSocket}},
		"need not known":     {breaks[udpSocket].odd, Undecided, []string{udpSocket}},
		"both not":           {func(m *machine) { breaks[udpSocket].no(m); breaks[udpGRO].no(m) }, Fails, []string{udpSocket}},
		"of no concern to x": {breaks[netAdmin].no, Works, nil},
	} {
		m := able()
		c.change(m)
		r := examine(t.Context(), m, probes, built)
		if v := r.Verdicts[0]; v.State != c.want || !slices.Equal(v.Missing, c.miss) {
			t.Errorf("%s: %+v, want %s, missing %v", name, v, c.want, c.miss)
		}
		failing, unknown := r.Failing([]string{"x", "nonsense"})
		if wantFail := c.want == Fails || c.want == Undecided; (len(failing) == 1) != wantFail || !slices.Equal(unknown, []string{"nonsense"}) {
			t.Errorf("%s: failing %v, unknown %v", name, failing, unknown)
		}
	}
	// What nobody asked is not known.
	if v := built[0].judge(nil); v.State != Undecided {
		t.Errorf("without findings: %+v", v)
	}
	absent := fabric{name: "y", unbuilt: true}
	if v := absent.judge(nil); v.State != Fails || len(v.Missing) != 1 {
		t.Errorf("without a port: %+v", v)
	}
}

// A probe that never returns is given up.
func TestStuckProbe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	release := make(chan struct{})
	defer close(release)
	p := probe{name: "stuck", ask: func(*machine) (bool, string, error) {
		close(asked)
		<-release
		return true, "", nil
	}}
	go func() {
		<-asked
		cancel()
	}()
	if f := p.run(ctx, able()); f.Answer != Unknown || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
}

// Fabrics name probes that exist, and no probe is there for nothing.
func TestProbesAndFabricsMatch(t *testing.T) {
	used := map[string]bool{}
	for _, f := range fabrics {
		for _, n := range slices.Concat(f.needs, f.likes) {
			used[n] = true
			if !slices.ContainsFunc(probes, func(p probe) bool { return p.name == n }) {
				t.Errorf("%s wants %s: there is no such probe", f.name, n)
			}
		}
	}
	for _, p := range probes {
		if !used[p.name] || p.remedy == "" || p.about == "" {
			t.Errorf("%s: used %v, remedy %q", p.name, used[p.name], p.remedy)
		}
	}
}

// On the machine of the test the fabrics that its other tests run must work.
func TestThisMachine(t *testing.T) {
	r := Run(t.Context())
	if failing, unknown := r.Failing([]string{"stream", "udp"}); len(failing)+len(unknown) > 0 {
		t.Errorf("%v, %v: %+v", failing, unknown, r.Findings)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, p := range probes {
		if !strings.Contains(b.String(), p.name) {
			t.Errorf("%s is missing in\n%s", p.name, b.String())
		}
	}
}
