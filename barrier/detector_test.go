package barrier

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

const ms = time.Millisecond

// watcher is a detector of member 1 among n that hears the others as it is told.
type watcher struct {
	*Detector
	t     *testing.T
	now   time.Duration
	heard func(fabric.MemberID) bool // by others
}

func newWatcher(t *testing.T, n int, cfg DetectorConfig) *watcher {
	members := Config{Epoch: 1}
	for i := range n {
		members.Voters = append(members.Voters, fabric.MemberID(i+1))
	}
	d, err := NewDetector(cfg, 1, members, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &watcher{d, t, 0, func(fabric.MemberID) bool { return false }}
}

// beats lets time pass, in steps of beat in which those members are heard.
func (w *watcher) beats(length, beat time.Duration, ids ...fabric.MemberID) {
	for end := w.now + length; w.now < end; {
		w.now += beat
		for _, id := range ids {
			w.Heard(w.now, id, true)
			w.Beats(id, beat)
		}
		w.Advance(w.now)
	}
}

func (w *watcher) suspects(want ...fabric.MemberID) {
	w.t.Helper()
	if got := w.Suspects(w.heard); !slices.Equal(got, want) {
		w.t.Errorf("at %v: suspects %v, want %v", w.now, got, want)
	}
}

// TestSilence: who is silent for longer than suspect-after is suspected, and not
// before; a sign of life ends it.
func TestSilence(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.suspects() // nobody was heard yet, and there was no time to
	w.beats(100*ms, 10*ms, 2, 3)
	w.suspects()
	w.beats(50*ms, 10*ms, 2)
	w.suspects()
	w.beats(20*ms, 10*ms, 2)
	w.suspects(3)
	w.beats(10*ms, 10*ms, 2, 3)
	w.suspects()
	if falsely, _ := w.Counts(); falsely != 1 {
		t.Errorf("%d false suspicions, want 1", falsely)
	}
	if got := w.SuspectAfter(3); got != 120*ms {
		t.Errorf("suspect-after is %v after a false suspicion, want it doubled", got)
	}
	if got := w.SuspectAfter(2); got != 60*ms {
		t.Errorf("suspect-after of another one is %v", got)
	}
}

// TestNeverHeard: who was never heard is suspected after MaxSuspectAfter.
func TestNeverHeard(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(990*ms, 10*ms, 2)
	w.suspects()
	w.beats(20*ms, 10*ms, 2)
	w.suspects(3)
}

// TestSlowBeats: who says that it beats seldom is suspected after three beats.
func TestSlowBeats(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(time.Second, 100*ms, 2, 3)
	for range 28 {
		w.beats(10*ms, 10*ms, 2)
	}
	w.suspects()
	w.beats(30*ms, 10*ms, 2)
	w.suspects(3)
}

// TestDelaysAreLearned: where signs of life come late now and then, suspect-after
// grows.
func TestDelaysAreLearned(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	for range 200 {
		w.beats(190*ms, 10*ms, 2, 3)
		w.beats(30*ms, 10*ms, 2) // 3 stutters
	}
	if got := w.SuspectAfter(3); got < 200*ms || got > time.Second {
		t.Errorf("suspect-after is %v where 20 to 30 ms are usual", got)
	}
	if got := w.SuspectAfter(2); got > 100*ms {
		t.Errorf("suspect-after is %v where nothing is late", got)
	}
}

// TestLateLoop: "A loop that ran late by more than suspect-after/2 restarts its
// timers instead of suspecting" (protocol §4).
func TestLateLoop(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3)
	w.now += 500 * ms
	w.Advance(w.now)
	w.suspects()
	if _, late := w.Counts(); late != 1 {
		t.Errorf("the loop was late %d times, want 1", late)
	}
	w.beats(70*ms, 10*ms, 2)
	w.suspects(3)
}

// TestAlone: "A member that hears no majority suspects itself, not the others".
func TestAlone(t *testing.T) {
	w := newWatcher(t, 5, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3, 4, 5)
	w.beats(100*ms, 10*ms, 2, 3)
	w.suspects(4, 5)
	w.beats(100*ms, 10*ms, 2)
	w.suspects(1)
	w.beats(10*ms, 10*ms, 2, 5)
	w.suspects(3, 4)
}

// TestDown: a port's word counts at once, and what was under way does not undo it;
// but who is still heard by others gets the time that relaying needs.
func TestDown(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3)
	w.Down(w.now, 3)
	w.suspects(3)
	w.beats(10*ms, 10*ms, 2, 3)
	w.suspects(3)
	w.beats(20*ms, 10*ms, 2, 3)
	w.suspects()

	w.heard = func(id fabric.MemberID) bool { return id == 3 }
	w.Down(w.now, 3)
	w.suspects()
	if hears := w.Hears(); slices.Contains(hears, 3) {
		t.Errorf("hears %v directly", hears)
	}
	w.beats(30*ms, 10*ms, 2)
	w.suspects()
	w.beats(20*ms, 10*ms, 2)
	w.suspects(3)
	w.Up(w.now, 3)
	w.suspects()
}

// TestRelayedSigns: who is heard by a relay alone is not suspected, and not heard
// directly.
func TestRelayedSigns(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3)
	for range 20 {
		w.beats(10*ms, 10*ms, 2)
		w.Heard(w.now, 3, false)
	}
	w.suspects()
	if hears := w.Hears(); !slices.Equal(hears, []fabric.MemberID{2}) {
		t.Errorf("hears %v", hears)
	}
}

// TestWaits: what waits for this member does not make its sender silent.
func TestWaits(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3)
	for range 20 {
		w.beats(10*ms, 10*ms, 2)
		w.Waits(w.now, 3)
	}
	w.suspects()
	if hears := w.Hears(); !slices.Equal(hears, []fabric.MemberID{2, 3}) {
		t.Errorf("hears %v", hears)
	}
	w.beats(70*ms, 10*ms, 2)
	w.suspects(3)
}

// TestWaitsByRelay: what came by a relay and waits says nothing of the link.
func TestWaitsByRelay(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3)
	for range 20 {
		w.beats(10*ms, 10*ms, 2)
		w.Heard(w.now, 3, false)
	}
	for range 20 {
		w.beats(10*ms, 10*ms, 2)
		w.Waits(w.now, 3)
		w.suspects()
		if hears := w.Hears(); !slices.Equal(hears, []fabric.MemberID{2}) {
			t.Fatalf("hears %v", hears)
		}
	}
}

// TestWatchesOthers: members of another configuration are watched from then on.
func TestWatchesOthers(t *testing.T) {
	w := newWatcher(t, 3, DetectorConfig{})
	w.beats(100*ms, 10*ms, 2, 3)
	w.SetMembers(w.now, Config{Epoch: 2, Voters: []fabric.MemberID{1, 2, 7}})
	w.beats(100*ms, 10*ms, 2)
	w.suspects() // 3 is nobody's business, 7 has time to start
	w.beats(time.Second, 10*ms, 2)
	w.suspects(7)
	if w.SuspectAfter(3) != 0 || w.SuspectAfter(2) != 60*ms {
		t.Errorf("suspect-after of a stranger is %v, of a member %v", w.SuspectAfter(3), w.SuspectAfter(2))
	}
}

func TestDetectorConfigFaults(t *testing.T) {
	err := DetectorConfig{SuspectAfter: -1, MaxSuspectAfter: -2, Window: -1, RelayWait: -1, Grace: -1}.Validate()
	for _, want := range []string{"SuspectAfter is", "MaxSuspectAfter is", "Window", "RelayWait", "Grace", "below"} {
		if !errors.Is(err, ErrDetector) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := NewDetector(DetectorConfig{Grace: -1}, 1, Config{}, 0); err == nil {
		t.Error("bad settings are taken")
	}
}
