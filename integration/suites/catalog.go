package main

import (
	"path"
	"strings"
	"time"
)

// A kind is one of the two servers that are compared.
type kind string

const (
	stock kind = "stock" // etcd as released
	dv    kind = "dv"    // the same etcd with the peer transport replaced
)

var bothKinds = []kind{stock, dv}

// A suite is a set of packages of etcd's test module that are built and run
// in one way.
type suite struct {
	name  string
	about string
	// pkgs are folders of the test module. The first gives the suite its name.
	pkgs []string
	tags string
	env  []string
	// linked: the server is part of the test program, which is then built once
	// for each kind. Otherwise the tests run the programs of a folder.
	linked bool
	// alone: the tests need no server at all.
	alone bool
	// lastRelease: the folder of programs has the previous minor version too.
	lastRelease bool
	// optional suites run only when they are named.
	optional bool
	// edits of the test module that hold for this suite alone.
	edits []edit
	// timeout bounds each test.
	timeout time.Duration
	// tests is nil where every test of the packages is run as it is.
	tests func(*suite, config) []test
}

// An edit replaces a text wherever it stands in a file of the test module.
type edit struct{ file, old, new string }

const (
	linkedTimeout     = 5 * time.Minute
	processTimeout    = 10 * time.Minute
	robustnessTimeout = 10 * time.Minute
)

// minimalEnv selects the smaller of the two matrices that package common has
// for real processes.
const minimalEnv = "E2E_TEST_MINIMAL=true"

// catalog lists all suites in the order in which they run.
var catalog = []*suite{
	{
		name: "integration", about: "clusters within one process",
		pkgs: []string{"integration"}, linked: true, timeout: linkedTimeout,
	},
	{
		name: "clientv3", about: "the client against clusters within one process",
		pkgs: []string{
			"integration/clientv3", "integration/clientv3/concurrency", "integration/clientv3/connectivity",
			"integration/clientv3/examples", "integration/clientv3/experimental/recipes", "integration/clientv3/lease",
			"integration/clientv3/naming", "integration/clientv3/snapshot", "integration/clientv3/watch",
		},
		linked: true, timeout: linkedTimeout,
	},
	{
		name: "other", about: "embedding, snapshots and the gRPC proxy",
		// integration/v2store is left out: it links no server.
		pkgs:   []string{"integration/embed", "integration/snapshot", "integration/proxy/grpcproxy"},
		linked: true, timeout: linkedTimeout,
	},
	{
		name: "common-integration", about: "the shared tests, within one process",
		pkgs: []string{"common"}, tags: "integration", linked: true, timeout: linkedTimeout,
	},
	{
		name: "common-e2e", about: "the shared tests, real processes, the small matrix",
		pkgs: []string{"common"}, tags: "e2e", env: []string{minimalEnv}, lastRelease: true, timeout: processTimeout,
	},
	{
		name: "e2e", about: "real processes",
		pkgs: []string{"e2e"}, tags: "e2e", lastRelease: true, timeout: processTimeout,
	},
	{
		name: "common-e2e-full", about: "the shared tests, real processes, with automatic TLS and mixed versions",
		pkgs: []string{"common"}, tags: "e2e", lastRelease: true, optional: true, timeout: processTimeout,
	},
	{
		name: "robustness", about: "faults under load, checked for linearizability",
		pkgs: []string{"robustness"}, optional: true, timeout: robustnessTimeout, tests: robustnessRuns, edits: robustnessEdits,
	},
	{
		name: "validate", about: "the checker of histories that the robustness tests use",
		pkgs: []string{"robustness/validate"}, optional: true, alone: true, timeout: linkedTimeout,
	},
}

func suiteByName(name string) *suite {
	for _, s := range catalog {
		if s.name == name {
			return s
		}
	}
	return nil
}

// label names a package of the suite in test names.
func (s *suite) label(pkg string) string {
	if pkg == s.pkgs[0] && s.name != "other" {
		return s.name
	}
	return s.name + "/" + path.Base(pkg)
}

// program is the file name of a package's test program.
func (s *suite) program(pkg string) string {
	name := strings.ReplaceAll(pkg, "/", "_")
	if s.tags != "" {
		name += "-" + s.tags
	}
	return name + ".test"
}

// A test is the unit that is run, in a process of its own, and that results
// are kept of.
type test struct {
	suite *suite
	pkg   string
	name  string
	run   string   // for -test.run
	group string   // of tests that are counted together besides
	env   []string // besides the suite's
}

// id is unique among all tests.
func (t test) id() string { return t.suite.label(t.pkg) + "." + t.name }
