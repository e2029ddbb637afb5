package bench

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// resamples and confidence of the bootstrap.
	resamples  = 2000
	confidence = 0.95
)

// Interval is a median with the bounds of its 95% bootstrap interval.
type Interval struct{ Median, Lo, Hi float64 }

// Contains reports whether x lies within the interval.
func (i Interval) Contains(x float64) bool { return i.Lo <= x && x <= i.Hi }

// ratios is the interval of ours[i]/base[i]. The resampling starts from the
// same seed every time: equal input gives equal output.
func ratios(ours, base []float64) Interval {
	r := make([]float64, len(ours))
	for i := range ours {
		r[i] = ours[i] / base[i]
	}
	return bootstrap(r)
}

func bootstrap(values []float64) Interval {
	if len(values) == 0 {
		return Interval{math.NaN(), math.NaN(), math.NaN()}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	medians, sample := make([]float64, resamples), make([]float64, len(values))
	for i := range medians {
		for j := range sample {
			sample[j] = values[rng.IntN(len(values))]
		}
		medians[i] = median(sample)
	}
	slices.Sort(medians)
	tail := (1 - confidence) / 2
	return Interval{median(values), Quantile(medians, tail), Quantile(medians, 1-tail)}
}

func median(values []float64) float64 {
	s := slices.Clone(values)
	slices.Sort(s)
	return Quantile(s, 0.5)
}

// Quantile interpolates between the ranks of sorted values.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Round keeps four digits: more would only look exact.
func Round(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}
