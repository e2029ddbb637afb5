package storm

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
)

// sample is what is known of many values without keeping them: each is counted with
// three digits, so that memory does not grow with the number of trials. Whole numbers
// below a thousand, such as rounds, are exact; least, most, sum and count always are.
type sample struct {
	counts map[float64]uint64
	n      uint64
	min    float64
	max    float64
	sum    float64
	lost   float64 // of the sum, to rounding (Kahan)
}

// digits that values are counted with.
const digits = 1000

// add takes a value; NaN is none.
func (s *sample) add(x float64) {
	if math.IsNaN(x) {
		return
	}
	if s.n == 0 {
		s.counts, s.min, s.max = map[float64]uint64{}, x, x
	}
	s.n++
	s.min, s.max = min(s.min, x), max(s.max, x)
	y := x - s.lost
	t := s.sum + y
	s.lost, s.sum = t-s.sum-y, t
	s.counts[coarse(x)]++
}

// coarse rounds to three digits.
func coarse(x float64) float64 {
	if x == 0 || math.IsInf(x, 0) {
		return x
	}
	scale := math.Pow(10, math.Floor(math.Log10(math.Abs(x)))+1) / digits
	if scale <= 1 && x == math.Trunc(x) {
		return x
	}
	return math.Round(x/scale) * scale
}

// merge takes what another one knows.
func (s *sample) merge(o *sample) {
	if o.n == 0 {
		return
	}
	if s.n == 0 {
		s.counts, s.min, s.max = map[float64]uint64{}, o.min, o.max
	}
	s.n += o.n
	s.min, s.max, s.sum = min(s.min, o.min), max(s.max, o.max), s.sum+o.sum
	for x, k := range o.counts {
		s.counts[x] += k
	}
}

// A Point of a distribution: Share of the values are X or less.
type Point struct{ X, Share float64 }

// points are the whole distribution, in order.
func (s *sample) points() (all []Point) {
	below := uint64(0)
	for _, x := range slices.Sorted(maps.Keys(s.counts)) {
		below += s.counts[x]
		all = append(all, Point{x, float64(below) / float64(s.n)})
	}
	return all
}

// quantile is the least value that a share of all is not above, NaN if there are none.
func (s *sample) quantile(q float64) float64 {
	if s.n == 0 {
		return math.NaN()
	}
	return s.rank(uint64(math.Ceil(q * float64(s.n))))
}

// rank is the k-th value, from 1.
func (s *sample) rank(k uint64) float64 {
	k = max(k, 1)
	below := uint64(0)
	for _, x := range slices.Sorted(maps.Keys(s.counts)) {
		if below += s.counts[x]; below >= k {
			return min(max(x, s.min), s.max)
		}
	}
	return s.max
}

// stat is a statistic by its name in expectations.
func (s *sample) stat(name string) float64 {
	switch name {
	case "count":
		return float64(s.n)
	case "sum":
		return s.sum
	}
	if s.n == 0 {
		return math.NaN()
	}
	switch name {
	case "min":
		return s.min
	case "max":
		return s.max
	case "mean":
		return s.sum / float64(s.n)
	default:
		return s.quantile(map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}[name])
	}
}

// An Interval is a median with the bounds of its 95% bootstrap interval.
type Interval struct{ Median, Lo, Hi float64 }

// MarshalJSON writes an object, or null if there is no median.
func (i Interval) MarshalJSON() ([]byte, error) {
	if math.IsNaN(i.Median) {
		return []byte("null"), nil
	}
	return json.Marshal(map[string]float64{"median": i.Median, "lo": i.Lo, "hi": i.Hi})
}

// median with its interval. No resamples are drawn: the chance that the median of one
// is at most the k-th of n values is that of a binomial distribution, which is what
// ever more resamples would come to.
func (s *sample) median() Interval {
	if s.n == 0 {
		return Interval{math.NaN(), math.NaN(), math.NaN()}
	}
	return Interval{s.quantile(0.5), s.rank(medianRank(s.n, 0.025)), s.rank(medianRank(s.n, 0.975))}
}

// manyValues: from so many on the binomial distribution is as good as normal.
const manyValues = 500

// medianRank is the least k for which the median of a resample of n values is at most
// the k-th with at least that chance.
func medianRank(n uint64, chance float64) uint64 {
	if n >= manyValues {
		z := -1.959963984540054 // of 0.025
		if chance > 0.5 {
			z = -z
		}
		return min(n, uint64(math.Ceil(float64(n)/2+z*math.Sqrt(float64(n))/2)))
	}
	half := (n + 1) / 2
	for k := uint64(1); k < n; k++ {
		// At least half of n draws are among the first k.
		if atLeast(n, half, float64(k)/float64(n)) >= chance {
			return k
		}
	}
	return n
}

// atLeast is the chance of k successes or more in n tries.
func atLeast(n, k uint64, p float64) (sum float64) {
	for i := k; i <= n; i++ {
		sum += math.Exp(choose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

// choose is the logarithm of n over k.
func choose(n, k uint64) float64 {
	f := func(x uint64) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return f(n) - f(k) - f(n-k)
}
