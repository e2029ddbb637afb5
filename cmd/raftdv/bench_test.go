package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftdv/dv/integration/bench"
)

func runBench(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := newRootCmd()
	var out, progress strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(append([]string{"bench"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return out.String(), progress.String(), err
}

var quick = []string{"transport", "--ports=stream", "--members=2", "--sealed=clear", "--pairs=1", "--duration=60ms"}

func TestBenchTransportJSON(t *testing.T) {
	out, progress, err := runBench(t, append(quick, "--json", "--acks", "--size=64", "--window=32")...)
	if err != nil {
		t.Fatal(err)
	}
	var r bench.TransportResult
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if r.Port != "stream" || r.Members != 2 || r.Size != 64 || r.Window != 32 || !r.Acks || r.Sealed || r.DeliveriesPerS <= 0 || r.Rafthttp.RTTBlockUs <= 0 {
		t.Errorf("%+v", r)
	}
	if d.Decode(&r) != io.EOF {
		t.Errorf("more than one object: %q", out)
	}
	if !strings.Contains(progress, "1/1: stream, 2 members, clear") || !strings.Contains(progress, "about") {
		t.Errorf("progress: %q", progress)
	}
}

func TestBenchTransportTable(t *testing.T) {
	out, _, err := runBench(t, quick...)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 3 || !strings.Contains(lines[0], "deliveries/s") || !strings.Contains(lines[1], "stream") ||
		!strings.Contains(lines[len(lines)-1], "rafthttp") {
		t.Errorf("%s", out)
	}
}

var quickRaft = []string{"raft", "--ports=tcp", "--members=3", "--in-flight=4", "--pairs=1", "--duration=100ms"}

func TestBenchRaftJSON(t *testing.T) {
	out, progress, err := runBench(t, append(quickRaft, "--json", "--size=64", "--sealed=sealed")...)
	if err != nil {
		t.Fatal(err)
	}
	var r bench.RaftResult
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if r.Port != "tcp" || r.Members != 3 || r.Size != 64 || r.InFlight != 4 || !r.Sealed || r.Pairs != 1 || r.Ours.CommitsPerS <= 0 || r.Rafthttp.CommitsPerS <= 0 || r.Machine == "" || r.Version == "" {
		t.Errorf("%+v", r)
	}
	if d.Decode(&r) != io.EOF {
		t.Errorf("more than one object: %q", out)
	}
	if !strings.Contains(progress, "1/1: tcp, 3 members, sealed, 4 in flight; about") {
		t.Errorf("progress: %q", progress)
	}
}

func TestBenchRaftTable(t *testing.T) {
	out, _, err := runBench(t, quickRaft...)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 4 || !strings.Contains(lines[0], "commits/s") || !strings.Contains(lines[1], "tcp") || !strings.Contains(lines[3], "rafthttp") {
		t.Errorf("%s", out)
	}
}

// --svg draws what the run printed, and says where.
func TestBenchSVG(t *testing.T) {
	for _, args := range [][]string{quick, quickRaft} {
		dir := filepath.Join(t.TempDir(), "plots")
		out, progress, err := runBench(t, append(args, "--svg="+dir)...)
		if err != nil || out == "" {
			t.Fatalf("%q, %v", out, err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, args[0]+"-*.svg"))
		if len(files) != 4 {
			t.Errorf("%s: %v", args[0], files)
		}
		for _, f := range files {
			if svg, err := os.ReadFile(f); err != nil || !strings.Contains(string(svg), "3 members") && !strings.Contains(string(svg), "2 members") {
				t.Errorf("%s: %v: %s", f, err, svg)
			}
			if !strings.Contains(progress, "wrote "+f) {
				t.Errorf("nothing about %s: %q", f, progress)
			}
		}
	}
}

// The help names every flag with its default and every port.
func TestBenchHelp(t *testing.T) {
	var all strings.Builder
	for _, name := range []string{"", "transport", "raft", "etcd", "failover", "partition", "messages"} {
		out, _, err := runBench(t, strings.Fields(name+" --help")...)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "$ raftdv bench %s\n%s\n", name, out)
	}
	golden(t, "bench.help", all.String())
	for _, port := range bench.TransportPorts() {
		if !strings.Contains(all.String(), port) {
			t.Errorf("nothing about %s", port)
		}
	}
}

func TestBenchSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"port":       {[]string{"transport", "--ports=pigeon"}, `"pigeon" is unknown here: use any of shm, udp, stream, grpc, tcp, rawudp, rafthttp`},
		"raft port":  {[]string{"raft", "--ports=rawudp"}, `"rawudp" is unknown here: use any of shm, udp, stream, grpc, tcp, rafthttp`},
		"twice":      {[]string{"transport", "--ports=udp,udp"}, "named twice"},
		"sealed":     {[]string{"raft", "--sealed=wax"}, "use both, clear, sealed"},
		"unsealable": {[]string{"transport", "--ports=rawudp", "--sealed=sealed"}, "encrypts nothing"},
		"datagram":   {[]string{"transport", "--ports=rawudp", "--size=70000"}, "do not fit into a datagram"},
		"in flight":  {[]string{"raft", "--in-flight=0"}, "use 1 to 16384"},
		"folder":     {append(quick, "--svg=/dev/null/plots"), "name a folder"},
		"command":    {[]string{"rafft"}, "unknown command"},
		"number":     {[]string{"raft", "--pairs=x"}, "invalid argument"},
		"members":    {[]string{"transport", "--members=1"}, "nobody to send to"},
		"stock":      {[]string{"etcd", "--stock=/no/such/etcd", "--dv=/no/such/dv"}, "stock etcd: "},
		"no dv":      {[]string{"etcd"}, "make build"},
		"argument":   {[]string{"transport", "x"}, "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := runBench(t, tc.args...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || out != "" {
				t.Errorf("got %v and %q, want %q", err, out, tc.want)
			}
		})
	}
}

// What was measured before a failure is shown, and the failure is not hidden.
func TestResultsOfAFailedRun(t *testing.T) {
	resultsTo := func(w io.Writer, asJSON bool) *results[bench.TransportResult] {
		cmd := newRootCmd()
		cmd.SetOut(w)
		r, err := newResults(cmd, benchOutput{asJSON: asJSON}, bench.WriteTransportTable, bench.TransportPlots)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	failure := errors.New("failed later")
	for _, asJSON := range []bool{false, true} {
		var out strings.Builder
		r := resultsTo(&out, asJSON)
		r.add(bench.TransportResult{Port: "udp", Members: 3})
		if err := r.finish(failure); !errors.Is(err, failure) || !strings.Contains(out.String(), "udp") {
			t.Errorf("json %v: %v, %q", asJSON, err, out.String())
		}
	}
	broken := resultsTo(brokenWriter{}, true)
	broken.add(bench.TransportResult{})
	if err := broken.finish(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("output that cannot be written: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
