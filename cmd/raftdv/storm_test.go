package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/packaging"
)

// stormSpec writes a specification of 4 cells with so many seeds.
func stormSpec(t *testing.T, dir string, seeds int, expect string) string {
	t.Helper()
	text := fmt.Sprintf(`name: small
claim: small
matrix: {transport: [stock, dv], fault: [none, crash-leader]}
seeds: {count: %d}
warm_up: 300ms
duration: 500ms
workload: {rate: 40}
baseline: stock
expect: [%s]
`, seeds, expect)
	path := filepath.Join(dir, "small.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func stormResults(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "results.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// holds expects what small trials show, within half a second.
const holds = "rounds.max <= 3 where transport = dv"

// TestStormExitCodes: each of them, by real processes.
func TestStormExitCodes(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, expect string
		code         int
		says         string
	}{
		{"holds", holds, 0, "holds     rounds.max <= 3"},
		{"violated", "rounds.max <= 0 where transport = dv", 1, "VIOLATED  rounds.max <= 0"},
		{"bad", "rouns.max <= 3", 2, `small.yaml:9:`},
	} {
		spec := stormSpec(t, dir, 2, c.expect)
		e := runRaftdv(t, dir, "storm", spec, "--dir="+filepath.Join(dir, c.name))
		if e.code != c.code || !strings.Contains(e.stdout+e.stderr, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s%s", c.name, e.code, c.code, c.says, e.stdout, e.stderr)
		}
	}
	// Results of a part are no answer.
	whole := filepath.Join(dir, "holds")
	text := stormResults(t, whole)
	lines := strings.SplitAfter(text, "\n")
	if err := os.WriteFile(filepath.Join(whole, "results.csv"), []byte(strings.Join(lines[:5], "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if e := runRaftdv(t, dir, "storm", "report", whole); e.code != 3 || !strings.Contains(e.stderr, "4 of 8 trials") {
		t.Errorf("incomplete: %+v", e)
	}
	// Somebody ends it: 3, too.
	spec := stormSpec(t, dir, 5000, holds)
	cmd := raftdvCommand(t, dir, "storm", spec, "--dir="+filepath.Join(dir, "ended"))
	wait := begin(t, cmd)
	awaitLines(t, filepath.Join(dir, "ended"), 3)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if e := wait(); e.code != 3 || !strings.Contains(e.stderr, "run the same command to go on") {
		t.Errorf("interrupted: %+v", e)
	}
}

// awaitLines waits until so many results are there.
func awaitLines(t *testing.T, dir string, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(dir, "results.csv"))
		if strings.Count(string(b), "\n") > n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d results do not come", dir, n)
		}
	}
}

// TestStormIdentical: a run that is killed and taken up, and one in four shards, have
// the results of one that nobody disturbs, byte by byte.
func TestStormIdentical(t *testing.T) {
	dir := t.TempDir()
	spec := stormSpec(t, dir, 25, holds)
	at := func(name string) string { return filepath.Join(dir, name) }
	if e := runRaftdv(t, dir, "storm", spec, "--dir="+at("whole")); e.code != 0 {
		t.Fatalf("%+v", e)
	}
	want := stormResults(t, at("whole"))
	if n := strings.Count(want, "\n"); n != 101 {
		t.Fatalf("%d lines", n)
	}
	for i := range 3 {
		cmd := raftdvCommand(t, dir, "storm", spec, "--dir="+at("killed"), "--jobs=3")
		wait := begin(t, cmd)
		awaitLines(t, at("killed"), 15*(i+1))
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if e := wait(); e.code != -1 {
			t.Fatalf("it was not killed: %+v", e)
		}
	}
	if strings.Count(stormResults(t, at("killed")), "\n") >= 101 {
		t.Error("it ended before it was killed")
	}
	if e := runRaftdv(t, dir, "storm", spec, "--dir="+at("killed")); e.code != 0 || stormResults(t, at("killed")) != want {
		t.Errorf("killed and taken up: exit code %d, the same results: %v", e.code, stormResults(t, at("killed")) == want)
	}
	merge := []string{"storm", "merge", "--dir=" + at("merged")}
	for i := range 4 {
		part := at(fmt.Sprint("part", i+1))
		if e := runRaftdv(t, dir, "storm", spec, fmt.Sprintf("--shard=%d/4", i+1), "--dir="+part); e.code != 0 {
			t.Fatalf("%+v", e)
		}
		merge = append(merge, part)
	}
	if e := runRaftdv(t, dir, merge[:6]...); e.code != 3 {
		t.Errorf("three of four shards: %+v", e)
	}
	if e := runRaftdv(t, dir, merge...); e.code != 0 || stormResults(t, at("merged")) != want {
		t.Errorf("merged: exit code %d, the same results: %v\n%s", e.code, stormResults(t, at("merged")) == want, e.stderr)
	}
}

// TestStormBatch runs the parts that the examples for schedulers start, as those would,
// and merges them.
func TestStormBatch(t *testing.T) {
	dir := t.TempDir()
	spec := stormSpec(t, dir, 5, holds)
	if e := runRaftdv(t, dir, "storm", spec, "--dir="+filepath.Join(dir, "whole")); e.code != 0 {
		t.Fatalf("%+v", e)
	}
	want := stormResults(t, filepath.Join(dir, "whole"))
	bin := t.TempDir()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(me, filepath.Join(bin, "raftdv")); err != nil {
		t.Fatal(err)
	}
	array, err := filepath.Abs("../../docs/examples/storm/array.sbatch")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("slurm", func(t *testing.T) {
		merge := []string{"storm", "merge", "--dir=" + filepath.Join(dir, "slurm")}
		for i := 1; i <= 8; i++ {
			cmd := exec.CommandContext(t.Context(), array, spec, filepath.Join(dir, "slurm"))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), asMain+"=1", "PATH="+bin+":"+os.Getenv("PATH"),
				fmt.Sprint("SLURM_ARRAY_TASK_ID=", i), "SLURM_ARRAY_TASK_MIN=1", "SLURM_ARRAY_TASK_MAX=8", "SLURM_ARRAY_TASK_COUNT=8", "SLURM_ARRAY_TASK_STEP=1", "SLURM_CPUS_PER_TASK=2")
			if e := end(t, cmd); e.code != 0 {
				t.Fatalf("part %d: %+v", i, e)
			}
			merge = append(merge, fmt.Sprintf("%s.part-%d", filepath.Join(dir, "slurm"), i))
		}
		if e := runRaftdv(t, dir, merge...); e.code != 0 || stormResults(t, filepath.Join(dir, "slurm")) != want {
			t.Errorf("%+v", e)
		}
	})
	t.Run("kubernetes", func(t *testing.T) {
		checker, err := packaging.BuildManifests(t.Context(), "../..", t.TempDir())
		if err != nil {
			t.Fatal(err) // what it needs, the build of this program needs too
		}
		command := func(file string) []string {
			all, err := packaging.ReadManifest(t.Context(), checker, "kubernetes", "../../docs/examples/storm/"+file)
			if err != nil || len(all) != 1 || all[0].Command[0] != "raftdv" {
				t.Fatalf("%+v, %v", all, err)
			}
			return all[0].Command[1:]
		}
		runs := t.TempDir()
		for i := range 8 {
			args := command("job.yaml")
			for k := range args {
				args[k] = strings.NewReplacer("$(JOB_COMPLETION_INDEX)", fmt.Sprint(i), "/runs/", runs+"/", "/spec/spec.yaml", spec).Replace(args[k])
			}
			cmd := raftdvCommand(t, dir, args...)
			cmd.Env = append(cmd.Env, fmt.Sprint("JOB_COMPLETION_INDEX=", i))
			if e := end(t, cmd); e.code != 0 {
				t.Fatalf("part %d: %+v", i, e)
			}
		}
		args := command("merge.yaml")
		for k := range args {
			args[k] = strings.ReplaceAll(args[k], "/runs/", runs+"/")
		}
		if e := runRaftdv(t, dir, args...); e.code != 0 || stormResults(t, filepath.Join(runs, "whole")) != want {
			t.Errorf("%+v", e)
		}
	})
}

func TestScheduledShard(t *testing.T) {
	for text, c := range map[string]struct {
		want int
		err  string
	}{
		"JOB_COMPLETION_INDEX=0": {1, ""},
		"JOB_COMPLETION_INDEX=7": {8, ""},
		"JOB_COMPLETION_INDEX=x": {0, "no number"},
		"":                       {0, "neither"},
		"SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_MIN=5":                         {1, ""},
		"SLURM_ARRAY_TASK_ID=9 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_STEP=4": {3, ""},
		"SLURM_ARRAY_TASK_ID=8 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_STEP=4": {0, "do not fit"},
		"SLURM_ARRAY_TASK_ID=8":                        {0, "SLURM_ARRAY_TASK_MIN"},
		"SLURM_ARRAY_TASK_ID=8 JOB_COMPLETION_INDEX=1": {0, "both"},
	} {
		got, err := scheduledShard(func(name string) string {
			for f := range strings.FieldsSeq(text) {
				if v, ok := strings.CutPrefix(f, name+"="); ok {
					return v
				}
			}
			return ""
		})
		if got != c.want && c.err == "" || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %d, %v, want %d, %q", text, got, err, c.want, c.err)
		}
	}
	for text, want := range map[string]string{"1": "write i/n", "0/4": "part 0 of 4", "5/4": "part 5 of 4", "a/4": "write i/n", "auto/4": "neither"} {
		if _, err := parseShard(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--shard=%s: %v", text, err)
		}
	}
}

// TestStormTools: what is done with a run that is there, and before there is one.
func TestStormTools(t *testing.T) {
	dir := t.TempDir()
	spec, run := stormSpec(t, dir, 3, holds), filepath.Join(dir, "run")
	if e := runRaftdv(t, dir, "storm", spec, "--dir="+run); e.code != 0 {
		t.Fatalf("%+v", e)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"storm", "--schema"}, 0, []string{`"$schema"`, "crash-leader"}},
		{[]string{"storm", spec, "--explain"}, 0, []string{"cells", "12", "crash-leader: the leader's machine crashes", holds}},
		{[]string{"storm", spec, "--dry-run"}, 0, []string{"4 cells, 12 trials"}},
		{[]string{"storm", "replay", run, "7"}, 0, []string{"as in the folder", "messages_per_op"}},
		{[]string{"storm", "replay", run, "7", "--trace"}, 0, []string{"as in the folder", "s  none\n", " leads term "}},
		{[]string{"storm", "replay", run, "12"}, 1, []string{"there are 0 to 11"}},
		{[]string{"storm", "report", run}, 0, []string{"report.html"}},
		{[]string{"storm", "plot", run, "--metric=unavailable", "--by=transport", "--over=fault"}, 0, []string{"<svg", "crash-leader"}},
		{[]string{"storm", "plot", run, "--metric=speed"}, 2, []string{`metric "speed"`}},
		{[]string{"storm", "plot", run, "--where=transport"}, 2, []string{"--where", "DIMENSION = VALUE"}},
		{[]string{"storm", "compare", run, run}, 0, []string{"12 pairs", "unavailable (ms)"}},
		{[]string{"storm", "compare", run, run, "--json"}, 0, []string{`"effects"`}},
		{[]string{"storm", "compare", run, dir}, 3, []string{"no folder of a run"}},
	} {
		e := runRaftdv(t, dir, c.args...)
		for _, want := range c.want {
			if !strings.Contains(e.stdout+e.stderr, want) {
				t.Errorf("%v: no %q in\n%s%s", c.args, want, e.stdout, e.stderr)
			}
		}
		if e.code != c.code {
			t.Errorf("%v: exit code %d, want %d: %s", c.args, e.code, c.code, e.stderr)
		}
	}
	if e := runRaftdv(t, dir, "storm", "compare", run, run, "--json"); !json.Valid([]byte(e.stdout)) {
		t.Errorf("%s", e.stdout)
	}
	// A result that was changed is not what a replay gives.
	text := stormResults(t, run)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "7,") {
			f := strings.Split(l, ",")
			f[len(f)-3] += "1"
			lines[i] = strings.Join(f, ",")
		}
	}
	if err := os.WriteFile(filepath.Join(run, "results.csv"), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	if e := runRaftdv(t, dir, "storm", "replay", run, "7"); e.code != 1 || !strings.Contains(e.stderr, "another result") {
		t.Errorf("%+v", e)
	}
}
