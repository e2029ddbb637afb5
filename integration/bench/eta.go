package bench

import (
	"fmt"
	"time"
)

// eta tells how much of a run is left: at first what was estimated, later what
// the parts that are done took.
type eta struct {
	begin       time.Time
	parts, done int
	estimate    time.Duration
	now         func() time.Time
}

func newETA(parts int, estimate time.Duration) *eta {
	return &eta{begin: time.Now(), parts: parts, estimate: estimate, now: time.Now}
}

// next is called before each part: it says how long that and the rest take.
func (e *eta) next() string {
	rest := e.estimate
	if e.done > 0 {
		rest = e.now().Sub(e.begin) / time.Duration(e.done) * time.Duration(e.parts-e.done)
	}
	e.done++
	return fmt.Sprintf("about %v left", rest.Round(time.Second))
}
