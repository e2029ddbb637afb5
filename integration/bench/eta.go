package bench

import (
	"fmt"
	"time"
)

// eta tells how much of a run is left: at first what was estimated, later what
// the parts that are done took.
type eta struct {
	begin    time.Time
	parts    int
	estimate time.Duration
	now      func() time.Time
}

func newETA(parts int, estimate time.Duration) *eta {
	return &eta{begin: time.Now(), parts: parts, estimate: estimate, now: time.Now}
}

// left says how long the rest takes when done parts are done.
func (e *eta) left(done int) string {
	rest := e.estimate
	if done > 0 {
		rest = e.now().Sub(e.begin) / time.Duration(done) * time.Duration(e.parts-done)
	}
	return fmt.Sprintf("about %v left", rest.Round(time.Second))
}
