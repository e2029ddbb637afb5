package sim

import "math"

// forever is a window that does not end.
const forever = math.MaxInt64

// window returns when a member may next put a packet on the wire that takes d,
// at or after t, and when it has to be done with it. On a fabric without a
// schedule that is at once. A slot is where the member's own clock sees it.
func (p *Port) window(t, d int64) (from, until int64) {
	m := &p.n.cfg.Medium
	if !m.scheduled() {
		return t, forever
	}
	cycle, guard := int64(m.Cycle), int64(m.Guard)
	local := p.m.local(t)
	first := int64(p.rank)*int64(m.Slot) + guard // within a cycle
	length := int64(m.Slot) - 2*guard
	for start := floorDiv(local-first, cycle)*cycle + first; ; start += cycle {
		if at := max(local, start); at+d <= start+length {
			// Rounding must not bring the sender before its time.
			return max(t, p.m.global(at)), max(t, p.m.global(start+length))
		}
	}
}

// local is what a member's clock shows at an instant of the network.
func (m *member) local(t int64) int64 { return t + int64(m.offset) + int64(float64(t)*m.drift) }

// global is the instant at which a member's clock shows something.
func (m *member) global(local int64) int64 {
	if m.drift == 0 {
		return local - int64(m.offset)
	}
	return int64(math.Ceil(float64(local-int64(m.offset)) / (1 + m.drift)))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
