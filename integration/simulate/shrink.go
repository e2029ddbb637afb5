package simulate

import (
	"slices"
)

// maxShrinkRuns bounds how often Shrink runs a seed.
const maxShrinkRuns = 200

// Shrink looks for a smaller schedule on which a seed still fails in the check
// in which it failed: it leaves out halves of the faults, then smaller parts, at
// last single ones, for as long as that works. The report is that of the
// smallest schedule found; failed itself if there is none. progress, if not nil,
// is told how many faults are left after each run.
func Shrink(cfg Config, failed *Report, progress func(faults int)) (*Report, error) {
	if !failed.Failed() {
		return failed, nil
	}
	check := failed.Failures[0].Check
	best, numbers := failed, numbersOf(failed.Schedule)
	runs := 0
	try := func(numbers []int) (bool, error) {
		runs++
		cfg.Only = numbers
		r, err := Run(cfg)
		if err != nil {
			return false, err
		}
		if ok := slices.ContainsFunc(r.Failures, func(f Failure) bool { return f.Check == check }); !ok {
			return false, nil
		}
		best = r
		return true, nil
	}
	for part := (len(numbers) + 1) / 2; part > 0 && runs < maxShrinkRuns; {
		smaller := false
		for at := 0; at < len(numbers) && runs < maxShrinkRuns; {
			rest := append(append([]int{}, numbers[:at]...), numbers[min(at+part, len(numbers)):]...) // not nil: that is all
			ok, err := try(rest)
			if err != nil {
				return nil, err
			}
			if ok {
				numbers, smaller = rest, true
			} else {
				at += part
			}
			if progress != nil {
				progress(len(numbers))
			}
		}
		switch {
		case part > 1:
			part = (part + 1) / 2
		case !smaller:
			part = 0
		}
	}
	return best, nil
}

func numbersOf(faults []Fault) []int {
	numbers := []int{}
	for _, f := range faults {
		numbers = append(numbers, f.Number)
	}
	return numbers
}
