package main

import "fmt"

// failpointEnv tells the copied test module which fault to inject.
const failpointEnv = "SUITES_FAILPOINT"

var (
	robustnessTraffic = []string{"EtcdHighTraffic", "EtcdTrafficDeleteLeases", "KubernetesHighTraffic", "KubernetesLowTraffic"}
	robustnessFaults  = []string{"kill", "blackhole", "delay", "drop", "member-replace"}
	// robustnessCases have a fault of their own: the loss of a process with
	// frequent snapshots, and a black hole that lasts until the member needs a
	// snapshot.
	robustnessCases = []string{"Issue13766", "Issue15271", "Issue20221"}
)

// robustnessEdits: the faults that are injected here come from outside of the
// server. Scenarios that ask for a server with built-in failpoints would be
// skipped.
//
// The proxy in front of a member puts its errors, refused dials among them, into a
// channel for 16 that nobody reads. With the 17th it accepts nothing any more, and
// stays like that when the member is replaced: that one can never join.
var robustnessEdits = []edit{
	{"robustness/scenarios/scenarios.go", "e2e.WithGoFailEnabled(true)", "e2e.WithGoFailEnabled(false)"},
	{"framework/e2e/etcd_process.go", `		case err := <-ep.proxy.Error():
			return err
		}
`, `		case err := <-ep.proxy.Error():
			return err
		}
		go func(p proxy.Server) {
			for {
				select {
				case <-p.Error():
				case <-p.Done():
					return
				}
			}
		}(ep.proxy)
`},
}

// robustnessRuns lists cfg.runs runs over all faults and kinds of traffic in
// turn. Each run is random in everything else.
func robustnessRuns(s *suite, cfg config) []test {
	var runs []test
	for i := range cfg.runs {
		t := robustnessRun(s, i)
		t.name = fmt.Sprintf("run-%03d-%s", i+1, t.name)
		runs = append(runs, t)
	}
	return runs
}

func robustnessRun(s *suite, i int) test {
	t := test{suite: s, pkg: s.pkgs[0]}
	variants := len(robustnessTraffic)*len(robustnessFaults) + len(robustnessCases)
	k := i % variants
	if k >= variants-len(robustnessCases) {
		t.name = robustnessCases[k-(variants-len(robustnessCases))]
		t.group = t.name
		t.run = "^TestRobustnessRegression$/^" + t.name + "$"
		return t
	}
	// The numbers of faults and kinds of traffic have no common divisor, so
	// that walking both at once meets every pair.
	fault := robustnessFaults[k%len(robustnessFaults)]
	traffic := robustnessTraffic[k%len(robustnessTraffic)]
	t.name, t.group = fault+"-"+traffic, fault
	t.run = "^TestRobustnessExploratory$/^" + traffic + "$/^ClusterOfSize3$"
	t.env = []string{failpointEnv + "=" + fault}
	return t
}
