package storm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// dice are trials whose results follow from their numbers, and that take turns in being
// slow.
type dice struct {
	broken func(trial uint64) bool // the trier breaks
	slow   bool
}

func (d *dice) Try(trial uint64) (r Result, err error) {
	h := fnv.New64a()
	fmt.Fprint(h, trial)
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	if wait := rng.IntN(1200); d.slow && wait < 300 {
		time.Sleep(time.Duration(wait) * time.Microsecond)
	}
	if d.broken != nil && d.broken(trial) {
		return r, errors.New("the trier\nis broken")
	}
	for i := range metrics {
		v := float64(rng.IntN(1000)) / 8
		if i == 5 && rng.IntN(3) == 0 {
			v = math.NaN()
		}
		r.Values = append(r.Values, v)
	}
	if trial%97 == 0 {
		r.Failure = `it "failed", badly`
	}
	return r, nil
}

func (d *dice) Close() error { return nil }

func smallSpec(t *testing.T) *Spec {
	t.Helper()
	s, err := Parse("small.yaml", []byte("name: small\nclaim: x\nmatrix: {transport: [stock, dv], members: [3, 5, 7]}\nseeds: {count: 101}\nexpect: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func results(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSameResults: a run of many jobs, one that was interrupted again and again, one
// that was killed at any byte, and one in four shards have the same results as one from
// beginning to end.
func TestSameResults(t *testing.T) {
	s := smallSpec(t)
	whole := t.TempDir()
	if err := s.Run(t.Context(), RunConfig{Dir: whole, New: func() (Trier, error) { return &dice{}, nil }}); err != nil {
		t.Fatal(err)
	}
	want := results(t, whole)
	if n := uint64(bytes.Count(want, []byte{'\n'})); n != s.Trials()+1 {
		t.Fatalf("%d lines of %d trials", n, s.Trials())
	}
	same := func(t *testing.T, dir string) {
		t.Helper()
		if !bytes.Equal(results(t, dir), want) {
			t.Error("the results are others")
		}
		if _, err := os.Stat(filepath.Join(dir, earlyFile)); err == nil {
			t.Errorf("%s is left", earlyFile)
		}
	}
	slow := func() (Trier, error) { return &dice{slow: true}, nil }
	t.Run("jobs", func(t *testing.T) {
		dir := t.TempDir()
		if err := s.Run(t.Context(), RunConfig{Dir: dir, Jobs: 8, New: slow}); err != nil {
			t.Fatal(err)
		}
		same(t, dir)
	})
	t.Run("interrupted", func(t *testing.T) {
		dir := t.TempDir()
		tries := uint64(0)
		for err := ErrInterrupted; err != nil; {
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			if err = s.Run(ctx, RunConfig{Dir: dir, Jobs: 3, New: slow, Progress: func(p Progress) {
				if tries++; p.Done > p.Total || p.Done <= p.Before {
					t.Errorf("%+v", p)
				}
				if n++; n == 40 {
					cancel()
				}
			}}); err != nil && !errors.Is(err, ErrInterrupted) {
				t.Fatal(err)
			}
			cancel()
		}
		if tries != s.Trials() {
			t.Errorf("%d of %d trials were run: what was done is done", tries, s.Trials())
		}
		same(t, dir)
	})
	t.Run("killed", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			_ = s.Run(ctx, RunConfig{Dir: dir, Jobs: 4, New: slow, Progress: func(Progress) {
				if n++; n == 100 {
					cancel()
				}
			}})
			cancel()
			for _, name := range []string{resultsFile, earlyFile} { // what was being written
				path := filepath.Join(dir, name)
				if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
					if err := os.Truncate(path, rng.Int64N(int64(len(b)))); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Run(t.Context(), RunConfig{Dir: dir, Jobs: 2, New: slow}); err != nil {
				t.Fatal(err)
			}
			same(t, dir)
		}
	})
	t.Run("shards", func(t *testing.T) {
		var dirs []string
		for i := range 4 {
			dir := t.TempDir()
			dirs = append(dirs, dir)
			total := uint64(0)
			if err := s.Run(t.Context(), RunConfig{Dir: dir, Jobs: 2, Shard: Shard{i + 1, 4}, New: slow, Progress: func(p Progress) { total = p.Total }}); err != nil {
				t.Fatal(err)
			}
			if n := uint64(bytes.Count(results(t, dir), []byte{'\n'})) - 1; n != total {
				t.Errorf("shard %d has %d trials and says %d", i+1, n, total)
			}
		}
		merged := t.TempDir()
		if err := s.Merge(merged, dirs); err != nil {
			t.Fatal(err)
		}
		same(t, merged)
		for what, bad := range map[string][]string{"is in none": dirs[:3], "more than one": append(dirs, dirs[0]), "nothing to merge": nil} {
			if err := s.Merge(t.TempDir(), bad); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestBrokenTrier: a trial whose trier breaks is tried again, then it has failed; the
// others go on.
func TestBrokenTrier(t *testing.T) {
	s := smallSpec(t)
	dir := t.TempDir()
	var mu sync.Mutex
	once := map[uint64]int{}
	made := 0
	err := s.Run(t.Context(), RunConfig{Dir: dir, Jobs: 2, New: func() (Trier, error) {
		mu.Lock()
		made++
		mu.Unlock()
		return &dice{broken: func(i uint64) bool {
			mu.Lock()
			defer mu.Unlock()
			once[i]++
			return i == 20 || i == 10 && once[i] == 1
		}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if made != 2+3 && made != 2+2 { // the last may be the last trial of its worker
		t.Errorf("%d triers", made)
	}
	rows := strings.Split(string(results(t, dir)), "\n")
	if strings.Contains(rows[11], "broken") || !strings.HasSuffix(rows[21], ",,,,,,,,,,,1,the trier is broken") {
		t.Errorf("%s\n%s", rows[11], rows[21])
	}
	wrong := errors.New("no trier")
	if err := s.Run(t.Context(), RunConfig{Dir: t.TempDir(), New: func() (Trier, error) { return nil, wrong }}); !errors.Is(err, wrong) {
		t.Errorf("%v", err)
	}
}

// TestStoreRefuses: a folder of something else stays as it is.
func TestStoreRefuses(t *testing.T) {
	s := smallSpec(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_ = s.Run(ctx, RunConfig{Dir: dir, New: func() (Trier, error) { return &dice{}, nil }, Progress: func(p Progress) {
		if p.Done == 10 {
			cancel()
		}
	}})
	before := results(t, dir)
	other, err := Parse("other.yaml", []byte("name: small\nclaim: x\nmatrix: {transport: [dv, stock], members: [3, 5, 7]}\nseeds: {count: 101}\nexpect: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	for what, run := range map[string]func() error{
		"spec":  func() error { return other.Run(t.Context(), RunConfig{Dir: dir}) },
		"shard": func() error { return s.Run(t.Context(), RunConfig{Dir: dir, Shard: Shard{2, 3}}) },
	} {
		if err := run(); !errors.Is(err, errRow) || !strings.Contains(err.Error(), "name another folder") {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(results(t, dir), before) {
			t.Errorf("%s: the results have changed", what)
		}
	}
	bad := RunConfig{Dir: filepath.Join(dir, "no"), Jobs: -1, Shard: Shard{5, 4}}
	err = s.Run(t.Context(), bad)
	for _, want := range []string{"no folder", "-1 jobs", "shard 5/4"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestShards(t *testing.T) {
	for n := 1; n < 6; n++ {
		seen := map[uint64]bool{}
		for i := 1; i <= n; i++ {
			h := Shard{i, n}
			for k, c := h.next(0), uint64(0); k < 100; k = h.next(k + 1) {
				if seen[k] || h.count(k) != c {
					t.Fatalf("%v: trial %d comes twice, or is not the %d-th but the %d-th", h, k, c, h.count(k))
				}
				seen[k] = true
				c++
			}
		}
		if len(seen) != 100 {
			t.Errorf("%d shards have %d of 100 trials", n, len(seen))
		}
	}
}
