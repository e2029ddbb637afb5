package storm

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestSample(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var s, half, rest sample
	var all []float64
	for i := range 20001 {
		x := math.Exp(rng.NormFloat64()*2) * 30
		all = append(all, x)
		s.add(x)
		if i%2 == 0 {
			half.add(x)
		} else {
			rest.add(x)
		}
	}
	s.add(math.NaN())
	half.merge(&rest)
	slices.Sort(all)
	sum := 0.0
	for _, x := range all {
		sum += x
	}
	for name, want := range map[string]float64{"count": 20001, "sum": sum, "mean": sum / 20001, "min": all[0], "max": all[20000],
		"p50": all[10000], "p90": all[18000], "p99": all[19800], "p999": all[19980]} {
		for what, got := range map[string]float64{"at once": s.stat(name), "merged": half.stat(name)} {
			if math.Abs(got-want) > want*0.006 { // half of the third digit
				t.Errorf("%s, %s: %v, want %v", name, what, got, want)
			}
		}
	}
	if len(s.counts) > 10*digits {
		t.Errorf("%d values are kept", len(s.counts))
	}
	p := s.points()
	if last := p[len(p)-1]; last.Share != 1 || !slices.IsSortedFunc(p, func(a, b Point) int {
		if a.X < b.X && a.Share < b.Share {
			return -1
		}
		return 1
	}) {
		t.Errorf("the distribution ends with %+v", last)
	}
	var none sample
	if !math.IsNaN(none.stat("p50")) || none.stat("count") != 0 || !math.IsNaN(none.median().Lo) {
		t.Error("nothing has statistics")
	}
	for _, x := range []float64{0, 1, 3, 999, 0.125, -7, 123456, 1e-9} {
		if c := coarse(x); math.Abs(c-x) > math.Abs(x)*0.006 || x == math.Trunc(x) && math.Abs(x) < digits && c != x {
			t.Errorf("%v is counted as %v", x, c)
		}
	}
}

// TestMedianInterval: as that of many resamples.
func TestMedianInterval(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 2, 5, 31, 100, 499, 500, 3000} {
		var s sample
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(rng.IntN(900))
			s.add(values[i])
		}
		const resamples = 4000
		medians := make([]float64, resamples)
		draw := make([]float64, n)
		for i := range medians {
			for j := range draw {
				draw[j] = values[rng.IntN(n)]
			}
			slices.Sort(draw)
			medians[i] = draw[(n-1)/2]
		}
		slices.Sort(medians)
		slices.Sort(values)
		got := s.median()
		// Of the values, not of what they are: how many lie between the two bounds.
		apart := func(a, b float64) int {
			i, _ := slices.BinarySearch(values, min(a, b))
			j, _ := slices.BinarySearch(values, max(a, b))
			return j - i
		}
		lo, hi := medians[resamples/40], medians[resamples-resamples/40]
		most := 1 + n/50
		if apart(got.Lo, lo) > most || apart(got.Hi, hi) > most || got.Median != values[(n-1)/2] {
			t.Errorf("%d values: %+v, resampled %v to %v", n, got, lo, hi)
		}
	}
}

// TestVerdicts: what holds and what does not, and which trial shows it.
func TestVerdicts(t *testing.T) {
	s, err := Parse("v.yaml", []byte(`
name: v
claim: x
matrix: {transport: [stock, dv], members: [3, 5]}
seeds: {count: 50}
baseline: stock
expect:
  - rounds.max <= 3 where transport = dv
  - rounds.max <= 8 where transport = stock
  - rounds.max <= 5 where transport = stock
  - unavailable.p50 <= 0.5 * baseline where transport = dv
  - unavailable.p50 <= 0.1 * baseline where transport = dv and members = 5
  - time_to_leader.p99 <= 1s
  - failed.sum = 0
`))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	try := func(i uint64) (r Result, err error) {
		c, seed := s.trial(i)
		r = failed(i, "")
		stock := c.Value("transport") == "stock"
		r.Values[metricIndex("rounds")] = 1 + float64(seed%3)
		r.Values[metricIndex("unavailable")] = 100 + float64(seed)
		r.Values[metricIndex("failed")] = 0
		if stock {
			r.Values[metricIndex("rounds")] = 3 + float64(seed%5)
			r.Values[metricIndex("unavailable")] *= 3
		}
		return r, nil
	}
	if err := s.Run(t.Context(), RunConfig{Dir: dir, New: func() (Trier, error) { return tryFunc(try), nil }}); err != nil {
		t.Fatal(err)
	}
	sum, partial, err := s.Summarize(dir)
	if err != nil || partial || sum.Trials != 200 || sum.Failed != 0 || sum.Holds() {
		t.Fatalf("%+v, %v, %v", sum, partial, err)
	}
	var got []string
	for _, v := range sum.Verdicts {
		got = append(got, v.String())
	}
	want := []string{
		"holds     rounds.max <= 3 where transport = dv: 3 of 100 trials in 2 cells",
		"holds     rounds.max <= 8 where transport = stock: 7 of 100 trials in 2 cells",
		"VIOLATED  rounds.max <= 5 where transport = stock: 7 of 100 trials in 2 cells; trial 3",
		"holds     unavailable.p50 <= 0.5 * baseline where transport = dv: 125 of 100 trials in 2 cells, compared with 187.5",
		"VIOLATED  unavailable.p50 <= 0.1 * baseline where transport = dv and members = 5: 125 of 50 trials in 1 cells, compared with 37.5",
		"VIOLATED  time_to_leader.p99 <= 1s: none of 0 trials in 4 cells",
		"holds     failed.sum = 0: 0 of 200 trials in 4 cells",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	short := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	slowly := func(i uint64) (Result, error) {
		if i > 7 {
			<-ctx.Done()
		}
		return try(i)
	}
	_ = s.Run(ctx, RunConfig{Dir: short, New: func() (Trier, error) { return tryFunc(slowly), nil }, Progress: func(p Progress) {
		if p.Done == 7 {
			cancel()
		}
	}})
	if sum, partial, err := s.Summarize(short); err != nil || !partial || sum.Trials < 7 || sum.Trials >= 200 {
		t.Errorf("of a part: %+v, %v, %v", sum, partial, err)
	}
}

type tryFunc func(uint64) (Result, error)

func (f tryFunc) Try(i uint64) (Result, error) { return f(i) }
func (f tryFunc) Close() error                 { return nil }

func TestTick(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 10000: "10000", 0.25: "0.25", 2.5: "2.5", 2e7: "2e+07", 0.3: "0.3", 5e-05: "5e-05", 1.2000000000000002: "1.2"} {
		if got := tick(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
}
