// Suites runs etcd's own tests against stock etcd and against etcd-dv, and
// compares.
//
//	go run ./integration/suites                        # all, both binaries: two hours the first time
//	go run ./integration/suites --preset smoke         # a few minutes
//	go run ./integration/suites --suite e2e --only 'TestMemberReplace|TestCtlV3Member'
//	go run ./integration/suites --shard 1/4            # one of four machines, or of four days
//	go run ./integration/suites --suite robustness --binary dv --runs 40
//	go run ./integration/suites --list; … --report; … --help
//
// # What it runs
//
// The modules tests, etcdctl and etcdutl come from the module proxy at the
// version of the server in go.mod. The test module is copied to an ignored
// folder (ROOT/.build/suites) and adapted there: one file that needs an
// unpublished module is dropped, links to the certificates are restored, and
// the robustness tests learn to take their fault from a variable. Suites
// whose server runs within the test program are built twice, once with the
// released server and once with the server of internal/patch; the others are
// built once and are given a folder with etcd, etcdctl, etcdutl and the
// previous minor version. Both kinds are built from the same dependencies,
// without paths and revisions: equal code is an equal program, wherever it
// was checked out.
//
// Every test has a process of its own, in a network namespace of its own
// where the machine allows it (as root, or by user namespaces), so that fixed
// ports never meet, nothing leaves the machine, and the tests that look for
// the host's address find one. ETCD_DV_* variables of the caller reach dv and
// nothing else of the kind reaches anything.
//
// # Results
//
// Results are JSON lines in the user's cache folder (--cache,
// RAFTDV_SUITES_CACHE), by suite and by a key over everything that the test
// runs: programs and settings. What passed or was skipped under a key is not
// run again, so that an interrupted run goes on where it was, a second
// checkout reuses what stock did in the first, and a change of the transport
// runs dv anew. Programs that a run uses are copied first: building
// meanwhile does no harm. Logs of failures are kept in the same folder.
//
// # Verdicts
//
// What fails with one binary is run again alone, three times, with both. A
// test is worse with dv when it then fails at least once with dv and never
// with stock, or always with dv and not always with stock. It is also worse
// when dv skips it, or a subtest, that stock runs. Exit status 1 says that
// something is worse, 3 that some tests were not run, 2 that nothing could be
// run.
//
// # Processes
//
// Servers under test have sessions of their own, so that a process group does
// not find them. Each test therefore runs below a small reaper, this program
// again, that inherits every orphan, kills by process id what a test leaves
// and what is too slow, and ends everything when this program dies, however
// it dies.
package main
