package barrier

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/suspect"
)

// DetectorConfig holds a detector's settings. Zero stands for the default.
type DetectorConfig struct {
	// SuspectAfter is the least silence after which a member is suspected.
	// Default 60ms.
	SuspectAfter time.Duration
	// MaxSuspectAfter bounds what observed delays make of it, and counts for who
	// says no beat and for who was never heard. Default 1s, at least SuspectAfter.
	MaxSuspectAfter time.Duration
	// Window: of the delays within it the longest counts. Default 20ms.
	Window time.Duration
	// RelayWait is how long a member that a port called down is not suspected while
	// others say that they hear it. Default two thirds of SuspectAfter.
	RelayWait time.Duration
	// Grace is how long a member that a port called down stays suspected
	// whatever comes: it may have been under way. Default 20ms.
	Grace time.Duration
}

// ErrDetector: settings that no detector can have.
var ErrDetector = errors.New("barrier: bad settings of the detector")

func (c DetectorConfig) withDefaults() DetectorConfig {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.SuspectAfter, 60*time.Millisecond)
	def(&c.MaxSuspectAfter, max(time.Second, c.SuspectAfter))
	def(&c.Window, 20*time.Millisecond)
	def(&c.RelayWait, 2*c.SuspectAfter/3)
	def(&c.Grace, 20*time.Millisecond)
	return c
}

// Validate lists all faults of the settings, defaults filled in.
func (c DetectorConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"SuspectAfter", c.SuspectAfter}, {"MaxSuspectAfter", c.MaxSuspectAfter}, {"Window", c.Window}, {"RelayWait", c.RelayWait}, {"Grace", c.Grace}} {
		if d.v < 0 {
			errs = append(errs, fmt.Errorf("%w: %s is %v: want a positive time", ErrDetector, d.name, d.v))
		}
	}
	if c.MaxSuspectAfter < c.SuspectAfter {
		errs = append(errs, fmt.Errorf("%w: MaxSuspectAfter %v is below SuspectAfter %v", ErrDetector, c.MaxSuspectAfter, c.SuspectAfter))
	}
	return errors.Join(errs...)
}

// Detector suspects members that are silent, each by the own observation of one
// member alone (protocol §4). It is pure: every input comes with its time, which
// never falls.
//
// Suspicion by silence is a guess: with delays bounded by what was observed, or by
// MaxSuspectAfter, it is right in the end, and that is all V2 asks of it.
type Detector struct {
	cfg     DetectorConfig
	self    fabric.MemberID
	config  Config
	ids     []fabric.MemberID
	watches []watch
	now     time.Duration
	wakeAt  time.Duration
	falsely uint64
	late    uint64
	changes uint64
}

// NewDetector returns one that begins at now.
func NewDetector(cfg DetectorConfig, self fabric.MemberID, members Config, now time.Duration) (*Detector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Detector{cfg: cfg.withDefaults(), self: self, now: now}
	d.wakeAt = now
	d.SetMembers(now, members)
	d.wakeAt = d.next()
	return d, nil
}

// SetMembers says whom to watch: all members of the configuration, and others. What
// is known of those that stay is kept.
func (d *Detector) SetMembers(now time.Duration, members Config, others ...fabric.MemberID) {
	d.begin(now)
	d.changes++
	was, had := d.ids, d.watches
	ids := append(members.ids(), others...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	d.config, d.ids, d.watches = members.sorted(), ids, make([]watch, len(ids))
	for i, id := range ids {
		if k, ok := slices.BinarySearch(was, id); ok {
			d.watches[i] = had[k]
		} else {
			d.watches[i] = watch{Watch: suspect.Watch{Last: now, Limit: d.cfg.MaxSuspectAfter}}
		}
	}
}

func (d *Detector) watch(id fabric.MemberID) *watch {
	if i, ok := slices.BinarySearch(d.ids, id); ok && id != d.self {
		return &d.watches[i]
	}
	return nil
}

// begin starts an input. A loop that stood still had no chance to hear anybody:
// it suspects nobody for that.
func (d *Detector) begin(now time.Duration) {
	now = max(now, d.now)
	if now-d.wakeAt > d.cfg.SuspectAfter/2 {
		for i := range d.watches {
			d.watches[i].Last, d.watches[i].direct = now, now
		}
		d.late++
		d.wakeAt = now
	}
	d.now = now
}

// Heard takes a sign of life: a row or frame that is newer than all before.
// direct: it came from the member itself, not by a relay.
func (d *Detector) Heard(now time.Duration, id fabric.MemberID, direct bool) {
	d.begin(now)
	w := d.watch(id)
	if w == nil || w.Down && now < w.DownAt+d.cfg.Grace {
		return
	}
	if w.Down || w.Silent || direct && !w.near {
		d.changes++
	}
	if w.alive(now, &d.cfg) {
		d.falsely++
	}
	if direct {
		w.near, w.direct = true, now
	}
}

// Waits: what a member says waits for this one to take it, and whatever it says
// next behind that. It is not silent; that it is heard directly does not follow if it
// was not before: it may have come by a relay.
func (d *Detector) Waits(now time.Duration, id fabric.MemberID) {
	d.begin(now)
	if w := d.watch(id); w != nil && !w.Down {
		if d.hears(w) {
			w.direct = now
		}
		w.Last = now
	}
}

// Beats says how often a member intends to give a sign of life; 0: it does not.
func (d *Detector) Beats(id fabric.MemberID, every time.Duration) {
	if w := d.watch(id); w != nil && w.beat != every {
		w.beat = every
		w.relimit(d.now, &d.cfg)
		d.wakeAt = min(d.wakeAt, d.next())
	}
}

// Down takes a port's word that a member is gone: it is suspected at once.
func (d *Detector) Down(now time.Duration, id fabric.MemberID) {
	d.begin(now)
	if w := d.watch(id); w != nil && !w.Down {
		w.Down, w.DownAt, w.near = true, now, false
		d.changes++
	}
}

// Up takes a port's word that a member can be reached (again).
func (d *Detector) Up(now time.Duration, id fabric.MemberID) {
	d.begin(now)
	if w := d.watch(id); w != nil {
		if w.Down {
			w.Down = false
			d.changes++
		}
		d.Heard(now, id, true)
	}
}

// Advance lets time pass. Deadline says when it is to be called at the latest.
func (d *Detector) Advance(now time.Duration) {
	d.begin(now)
	for i, id := range d.ids {
		if w := &d.watches[i]; id != d.self && !w.Silent && now-w.Last >= w.Limit {
			w.Silent = true
			d.changes++
		}
	}
	d.wakeAt = d.next()
}

// Deadline is when Advance has to be called at the latest.
func (d *Detector) Deadline() time.Duration { return d.wakeAt }

// next is when a silence may become too long, and not later than after half of
// what is too long, so that a loop that stood still is noticed.
func (d *Detector) next() time.Duration {
	at := d.now + d.cfg.MaxSuspectAfter/2
	for i, id := range d.ids {
		if w := &d.watches[i]; id != d.self && !w.Silent {
			at = min(at, max(w.Last+w.Limit, d.now+1), d.now+w.Limit/2)
		}
	}
	return at
}

// Changes counts the changes of Suspects, and of Hears but for those that time
// brings.
func (d *Detector) Changes() uint64 { return d.changes }

// Suspects lists whom this member suspects. Who hears no majority of the voters
// suspects itself alone: it may be deaf, and knows nothing of the others.
//
// heardBy says whether another member hears one directly, as its row says. A member
// that a port called down, and that others still hear, may have lost this one link
// alone: it gets the time that relaying needs to begin.
func (d *Detector) Suspects(heardBy func(fabric.MemberID) bool) (ids []fabric.MemberID) {
	for i, id := range d.ids {
		if w := &d.watches[i]; id != d.self && d.suspected(id, w, heardBy) {
			ids = append(ids, id)
		}
	}
	if !d.config.majority(func(id fabric.MemberID) bool { return !slices.Contains(ids, id) }) {
		return []fabric.MemberID{d.self}
	}
	return ids
}

func (d *Detector) suspected(id fabric.MemberID, w *watch, heardBy func(fabric.MemberID) bool) bool {
	if w.Down && !w.Silent && d.now-w.DownAt < d.cfg.RelayWait {
		return !heardBy(id)
	}
	return w.Down || w.Silent
}

// Hears lists whom this member hears directly: whose own signs of life come in
// time. Relaying is to begin earlier than suspicion, after a third of its time
// or when a beat is missed (protocol §4): at the latest after SuspectAfter, however
// late members have been, because who suspects a leader needs others soon.
func (d *Detector) Hears() (ids []fabric.MemberID) {
	for i, id := range d.ids {
		if id != d.self && d.hears(&d.watches[i]) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (d *Detector) hears(w *watch) bool {
	return w.near && !w.Down && d.now-w.direct < max(min(w.Limit/3, d.cfg.SuspectAfter), w.beat+w.beat/2)
}

// SuspectAfter is the limit in force for a member, 0 if it is not watched.
func (d *Detector) SuspectAfter(id fabric.MemberID) time.Duration {
	if w := d.watch(id); w != nil {
		return w.Limit
	}
	return 0
}

// Counts are how many suspicions by silence were wrong, and how often the loop
// stood still for too long to suspect anybody.
func (d *Detector) Counts() (falsely, late uint64) { return d.falsely, d.late }
