package barrier

import (
	"time"

	"github.com/raftdv/dv/internal/suspect"
)

// watch is what is known of one member's life, and of the link with it.
type watch struct {
	suspect.Watch
	beat   time.Duration // the pause between signs of life that it intends, 0: none
	direct time.Duration // of the last sign that came from itself, not by a relay
	near   bool          // direct is valid
}

func (c *DetectorConfig) limits() suspect.Limits {
	return suspect.Limits{After: c.SuspectAfter, Max: c.MaxSuspectAfter, Window: c.Window}
}

// alive takes a sign of life; see suspect.Watch.Alive.
func (w *watch) alive(now time.Duration, cfg *DetectorConfig) (wrong bool) {
	return w.Alive(now, w.beat, cfg.limits())
}

func (w *watch) relimit(now time.Duration, cfg *DetectorConfig) { w.Relimit(now, w.beat, cfg.limits()) }
