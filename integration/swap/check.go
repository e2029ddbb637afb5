package swap

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// What a history can be guilty of.
var (
	// ErrLost: an acknowledged write is not in a member's history.
	ErrLost = errors.New("an acknowledged write is lost")
	// ErrPhantom: a member's history has a change that no client asked for,
	// or one twice.
	ErrPhantom = errors.New("a change that nobody wrote")
	// ErrDiverged: two members serve different histories.
	ErrDiverged = errors.New("members serve different histories")
	// ErrEmpty: there is nothing to check.
	ErrEmpty = errors.New("nothing was acknowledged: there is nothing to check")
)

// maxFaults of each kind are told.
const maxFaults = 5

// CheckHistory compares what clients know with what every member serves. It
// returns all that is wrong.
func CheckHistory(h *History) error {
	var errs []error
	acked := 0
	for _, name := range slices.Sorted(maps.Keys(h.Members)) {
		n, lost := findLost(h, name)
		acked = n
		errs = append(errs, few(lost), few(findPhantoms(h, name)))
	}
	if acked == 0 || len(h.Members) == 0 {
		errs = append(errs, ErrEmpty)
	}
	return errors.Join(append(errs, findDivergence(h))...)
}

func few(errs []error) error {
	if n := len(errs) - maxFaults; n > 0 {
		errs = append(errs[:maxFaults], fmt.Errorf("and %d more", n))
	}
	return errors.Join(errs...)
}

// findLost looks for every acknowledged write at its revision.
func findLost(h *History, member string) (acked int, errs []error) {
	at := map[int64]Event{}
	for _, e := range h.Members[member] {
		at[e.Revision] = e
	}
	for _, op := range h.ops() {
		w, ok := op.write()
		if !ok {
			continue
		}
		acked++
		if e, ok := at[op.Output.Revision]; !ok || e.Key != w.Key || e.Value != w.Value {
			errs = append(errs, fmt.Errorf("%w: %s=%s was acknowledged by member %s at revision %d; %s has %v there",
				ErrLost, w.Key, w.Value.Value, op.Output.MemberID, op.Output.Revision, member, e))
		}
	}
	return acked, errs
}

// findPhantoms looks for who asked for each change. Every value is written
// once.
func findPhantoms(h *History, member string) (errs []error) {
	asked := map[Put]bool{}
	for _, op := range h.ops() {
		if w, ok := op.attempt(); ok {
			asked[w] = true
		}
	}
	for _, e := range h.Members[member] {
		w := Put{Key: e.Key, Value: e.Value}
		if e.Type != opPut || !asked[w] {
			errs = append(errs, fmt.Errorf("%w: %s has %v", ErrPhantom, member, e))
		}
		delete(asked, w)
	}
	return errs
}

func findDivergence(h *History) error {
	names := slices.Sorted(maps.Keys(h.Members))
	for _, name := range names[min(1, len(names)):] {
		a, b := h.Members[names[0]], h.Members[name]
		for i := range max(len(a), len(b)) {
			if i < len(a) && i < len(b) && a[i] == b[i] {
				continue
			}
			return fmt.Errorf("%w: event %d of %s and %s: %v and %v", ErrDiverged, i, names[0], name, nth(a, i), nth(b, i))
		}
	}
	return nil
}

func nth(events []Event, i int) any {
	if i < len(events) {
		return events[i]
	}
	return "nothing"
}
