package udp

import "slices"

// span is the half-open range [lo, hi) of stream offsets.
type span struct{ lo, hi uint64 }

// spans is a set of offsets: sorted, disjoint, not touching.
type spans []span

// after returns the index of the first span that ends at or after x.
func (s spans) after(x uint64) int {
	if n := len(s); n == 0 || s[n-1].hi < x { // appending is the usual case
		return n
	}
	i, _ := slices.BinarySearchFunc(s, x, func(e span, x uint64) int {
		if e.hi < x {
			return -1
		}
		return 1
	})
	return i
}

// add inserts [lo, hi) and merges.
func (s *spans) add(lo, hi uint64) {
	if lo >= hi {
		return
	}
	i := s.after(lo)
	j := i
	for j < len(*s) && (*s)[j].lo <= hi {
		lo, hi = min(lo, (*s)[j].lo), max(hi, (*s)[j].hi)
		j++
	}
	*s = slices.Replace(*s, i, j, span{lo, hi})
}

// remove cuts [lo, hi) out.
func (s *spans) remove(lo, hi uint64) {
	if lo >= hi || len(*s) == 0 {
		return
	}
	i := s.after(lo + 1)
	if i == len(*s) || (*s)[i].lo >= hi {
		return
	}
	if e := (*s)[i]; e.lo < lo && hi < e.hi {
		(*s)[i].hi = lo
		*s = slices.Insert(*s, i+1, span{hi, e.hi})
		return
	}
	if (*s)[i].lo < lo {
		(*s)[i].hi = lo
		i++
	}
	j := i
	for j < len(*s) && (*s)[j].hi <= hi {
		j++
	}
	if j < len(*s) && (*s)[j].lo < hi {
		(*s)[j].lo = hi
	}
	*s = slices.Delete(*s, i, j)
}

// join drops everything below x, and returns x raised to the end of a span that
// begins at or below it.
func (s *spans) join(x uint64) uint64 {
	n := 0
	for n < len(*s) && (*s)[n].lo <= x {
		x = max(x, (*s)[n].hi)
		n++
	}
	if n > 0 {
		*s = slices.Delete(*s, 0, n)
	}
	return x
}

// addWithout inserts what of [lo, hi) is not in other.
func (s *spans) addWithout(lo, hi uint64, other spans) {
	for _, o := range other {
		if o.hi <= lo {
			continue
		}
		if o.lo >= hi {
			break
		}
		s.add(lo, o.lo)
		lo = max(lo, o.hi)
	}
	s.add(lo, hi)
}
