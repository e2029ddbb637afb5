package simulate

import "time"

// Faults of the network that cut links, for all or for some of the pairs. The
// sources of the partial partitions are in docs/simulator.md.

// cuts are links that are cut now.
type cuts struct {
	c  *cluster
	on [][2]*member
}

// set cuts exactly the links given, of those that it is about.
func (k *cuts) set(links [][2]*member) {
	for _, l := range k.on {
		k.c.net.Mend(l[0].id, l[1].id)
		k.c.cut[l]--
	}
	k.on = links
	for _, l := range links {
		k.c.net.Cut(l[0].id, l[1].id)
		k.c.cut[l]++
	}
}

// between lists the links of all pairs that keep says nothing of, both ways.
func between(ms []*member, keep func(a, b int) bool) (links [][2]*member) {
	for i := range ms {
		for j := range i {
			if !keep(j, i) {
				links = append(links, [2]*member{ms[i], ms[j]}, [2]*member{ms[j], ms[i]})
			}
		}
	}
	return links
}

// cut cuts links until the end.
func (s *strike) cut(links [][2]*member) func() {
	if len(links) == 0 {
		return nil
	}
	s.c.trace("%s: %d links are cut", s.Kind, len(links))
	k := &cuts{c: s.c}
	k.set(links)
	return func() { k.set(nil) }
}

// stages cuts the links of each stage for an equal share of the time.
func (s *strike) stages(stages ...[][2]*member) func() {
	k := &cuts{c: s.c}
	over := false
	for i, links := range stages {
		s.c.net.At(s.At+s.For*time.Duration(i)/time.Duration(len(stages)), func() {
			if !over {
				k.set(links)
			}
		})
	}
	return func() {
		over = true
		k.set(nil)
	}
}

func oneWayCut(s *strike) func() {
	ms := s.shuffled()
	if s.rng.IntN(2) == 0 {
		ms[0], ms[1] = ms[1], ms[0]
	}
	return s.cut([][2]*member{{ms[0], ms[1]}})
}

// deafLeader: the leader is heard and hears nobody.
func deafLeader(s *strike) func() {
	ms := s.shuffled()
	var links [][2]*member
	for _, m := range ms[1:] {
		links = append(links, [2]*member{m, ms[0]})
	}
	return s.cut(links)
}

// chained: the leader and one follower do not reach each other, everybody else
// reaches both.
func chained(s *strike) func() {
	return s.cut(between(s.shuffled(), func(a, b int) bool { return !(a == 0 && b == 1) }))
}

// quorumLoss: everybody reaches one member that does not lead, and no other.
func quorumLoss(s *strike) func() {
	return s.cut(between(s.shuffled(), func(a, b int) bool { return a == 1 || b == 1 }))
}

// constrained: as quorumLoss, the leader reaches nobody at all, and the hub was
// cut off before, so that its log is behind.
func constrained(s *strike) func() {
	ms := s.shuffled()
	behind := between(ms, func(a, b int) bool { return a != 1 && b != 1 })
	star := between(ms, func(a, b int) bool { return a != 0 && (a == 1 || b == 1) })
	return s.stages(behind, star, star)
}

// rotatingHub: quorumLoss, and the hub changes.
func rotatingHub(s *strike) func() {
	ms := s.shuffled()
	var stages [][][2]*member
	for hub := range ms {
		stages = append(stages, between(ms, func(a, b int) bool { return a == hub || b == hub }))
	}
	return s.stages(stages...)
}

// bridge: two halves, and one member that reaches both (2/2/1 for five). The
// leader is in a half: as the bridge it would not notice.
func bridge(s *strike) func() {
	ms := s.shuffled()
	at := 1 + s.rng.IntN(len(ms)-1)
	half := func(i int) bool { return (i+len(ms)-at)%len(ms) <= len(ms)/2 }
	return s.cut(between(ms, func(a, b int) bool { return a == at || b == at || half(a) == half(b) }))
}

// split: a partition as one thinks of it.
func split(s *strike) func() {
	ms := s.shuffled()
	n := 1 + s.rng.IntN(len(ms)/2)
	return s.cut(between(ms, func(a, b int) bool { return (a < n) == (b < n) }))
}

// flapping: a link goes down and up again every 20 to 420 ms.
func flapping(s *strike) func() {
	ms := s.shuffled()
	link := [][2]*member{{ms[0], ms[1]}, {ms[1], ms[0]}}
	var stages [][][2]*member
	for range 2 + int(s.For/(20*time.Millisecond+rand64(s.rng, 400*time.Millisecond))) {
		if len(stages)%2 == 0 {
			stages = append(stages, link)
		} else {
			stages = append(stages, nil)
		}
	}
	return s.stages(stages...)
}
