package failover

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raftdv/dv/integration/bench"
)

const (
	// resamples and tail of the bootstrap, for 95%.
	resamples = 2000
	tail      = 0.025
)

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ratioOfMedians is the median of ours by that of base, with its 95% bootstrap
// interval over the pairs. Equal input gives equal output.
func ratioOfMedians(ours, base []float64) bench.Interval {
	n := min(len(ours), len(base))
	if n == 0 {
		return bench.Interval{Median: math.NaN(), Lo: math.NaN(), Hi: math.NaN()}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	ratios, a, b := make([]float64, resamples), make([]float64, n), make([]float64, n)
	for i := range ratios {
		for j := range n {
			k := rng.IntN(n)
			a[j], b[j] = ours[k], base[k]
		}
		ratios[i] = median(a) / median(b)
	}
	slices.Sort(ratios)
	return bench.Interval{
		Median: median(ours[:n]) / median(base[:n]), Lo: bench.Quantile(ratios, tail), Hi: bench.Quantile(ratios, 1-tail),
	}
}

func median(values []float64) float64 {
	return bench.Quantile(slices.Sorted(slices.Values(values)), 0.5)
}
