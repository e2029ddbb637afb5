package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/failover"
	"github.com/raftdv/dv/integration/ledger"
	"github.com/raftdv/dv/internal/needs"
)

// Flags that would be ignored are refused, before anything is built.
func TestBenchFailoverSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"mixed":        {[]string{"--fault=none,kill"}, "measured alone"},
		"sizes":        {[]string{"--fault=attack", "--members=3,5"}, "take one number"},
		"csv":          {[]string{"--fault=none", "--csv=x"}, "are for faults of the leader"},
		"duration":     {[]string{"--duration=1s"}, "--duration is for"},
		"throttle":     {[]string{"--fault=kill", "--throttle=20"}, "--throttle is for"},
		"trials":       {[]string{"--fault=none", "--trials=3"}, "longer --duration"},
		"attack sizes": {[]string{"--fault=attack", "--members=5"}, "has 3 members"},
		"fault":        {[]string{"--fault=flood", "--stock=/bin/sh", "--dv=/bin/sh"}, `fault "flood" is unknown`},
		"members":      {[]string{"--members=2", "--stock=/bin/sh", "--dv=/bin/sh"}, "2 members cannot lose one"},
		"csv folder":   {[]string{"--csv=/dev/null/x", "--stock=/bin/sh", "--dv=/bin/sh"}, "--csv"},
		"throttled":    {[]string{"--fault=none", "--throttle=200", "--stock=/bin/sh", "--dv=/bin/sh"}, "200%"},
		"no dv":        {nil, "make build"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := runBench(t, append([]string{"failover"}, tc.args...)...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || out != "" {
				t.Errorf("got %v and %q, want %q", err, out, tc.want)
			}
		})
	}
}

// One trial with real processes, and everything that can be written about it.
func TestBenchFailover(t *testing.T) {
	needs.Time(t, "starts clusters of processes")
	var paths []string
	for _, p := range []cluster.Program{cluster.Etcd, cluster.EtcdDV} {
		path, err := cluster.Build(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	dir := t.TempDir()
	lines := filepath.Join(dir, "trials.csv")
	out, progress, err := runBench(t, "failover", "--fault=kill", "--members=3", "--trials=1", "--stock="+paths[0], "--dv="+paths[1],
		"--dv-flags=--dv-fabrics=stream", "--csv="+lines, "--svg="+dir, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var r failover.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Paths != "stream" || r.Trials != 1 || r.DV.P50Ms <= 0 {
		t.Errorf("%v: %s", err, out)
	}
	f, err := os.Open(lines)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if rows, err := csv.NewReader(f).ReadAll(); err != nil || len(rows) != 3 {
		t.Errorf("%v, %v", rows, err)
	}
	if !strings.Contains(progress, "trial 1/1") || !strings.Contains(progress, "wrote "+filepath.Join(dir, "failover.svg")) {
		t.Errorf("%q", progress)
	}
}

// Missed goals fail only a run that was asked to.
func TestBenchFailoverAsserts(t *testing.T) {
	missed := checks([]failover.AttackResult{{DV: failover.AttackNumbers{BeforePS: 10}}, {}})
	if !errors.Is(missed, failover.ErrMissed) {
		t.Fatal(missed)
	}
	for _, tc := range []struct {
		check bool
		want  error
	}{{true, failover.ErrMissed}, {false, nil}} {
		o := failoverOptions{check: tc.check}
		if err := o.finish(nil, missed); !errors.Is(err, tc.want) {
			t.Errorf("%v: %v", tc.check, err)
		}
	}
	o := failoverOptions{}
	if err := o.finish(ledger.ErrLost, nil); !errors.Is(err, ledger.ErrLost) {
		t.Errorf("lost writes are forgiven: %v", err)
	}
}
