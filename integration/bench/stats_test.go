package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantiles(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{3}, 0.5, 3},
		{[]float64{1, 2}, 0.5, 1.5},
		{[]float64{1, 2, 3, 4, 5}, 0.5, 3},
		{[]float64{1, 2, 3, 4, 5}, 0, 1},
		{[]float64{1, 2, 3, 4, 5}, 1, 5},
		{[]float64{0, 10}, 0.99, 9.9},
	} {
		if got := Quantile(tc.values, tc.q); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("Quantile(%v, %v) = %v, want %v", tc.values, tc.q, got, tc.want)
		}
	}
	if got := median([]float64{5, 1, 4}); got != 4 {
		t.Errorf("median of unsorted values: %v", got)
	}
	if got := Quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing: %v", got)
	}
}

func TestRatios(t *testing.T) {
	i := ratios([]float64{2, 4, 6}, []float64{1, 2, 3})
	if i != (Interval{2, 2, 2}) {
		t.Errorf("constant ratio: %v", i)
	}
	if j := ratios([]float64{1, 2, 3, 4}, []float64{2, 2, 2, 2}); j != ratios([]float64{1, 2, 3, 4}, []float64{2, 2, 2, 2}) {
		t.Error("equal input gave unequal output")
	}
	if i := bootstrap(nil); !math.IsNaN(i.Median) {
		t.Errorf("ratio of nothing: %v", i)
	}
}

// Of many A/A comparisons about 95% must hold 1, of many with a true
// difference of twice the noise none may.
func TestIntervalCovers(t *testing.T) {
	const trials, pairs = 400, 10
	rng := rand.New(rand.NewPCG(5, 6))
	noisy := func(mean float64) []float64 {
		v := make([]float64, pairs)
		for i := range v {
			v[i] = mean * math.Exp(0.2*rng.NormFloat64())
		}
		return v
	}
	same, apart := 0, 0
	for range trials {
		if ratios(noisy(100), noisy(100)).Contains(1) {
			same++
		}
		if !ratios(noisy(300), noisy(100)).Contains(1) {
			apart++
		}
	}
	if same < trials*90/100 || same == trials {
		t.Errorf("%d of %d comparisons of equals hold 1", same, trials)
	}
	if apart < trials*99/100 {
		t.Errorf("%d of %d comparisons see a factor of three", apart, trials)
	}
}

func TestRound(t *testing.T) {
	for x, want := range map[float64]float64{0: 0, 123456: 123500, 0.00123456: 0.001235, 1: 1, -9.87654: -9.877} {
		if got := Round(x); math.Abs(got-want) > 1e-12 {
			t.Errorf("Round(%v) = %v, want %v", x, got, want)
		}
	}
	if got := []float64{Round(math.NaN()), Round(math.Inf(1))}; !slices.ContainsFunc(got, math.IsNaN) || !math.IsInf(got[1], 1) {
		t.Errorf("%v", got)
	}
}
