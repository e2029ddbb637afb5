package fabrictest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// Outcome is what members of a cluster were told in the run of a [Script], as far
// as it must not depend on the port: which frames arrived in which order in each
// lane, how tickets were settled, what was reported missing, the newest rows.
type Outcome struct {
	lanes   map[[2]fabric.MemberID]*[fabric.Lanes][]arrival // by sender and receiver
	tickets map[ticketAt]string
	rows    map[[2]fabric.MemberID]string // by owner and receiver
	wrong   []string                      // gaps, tickets settled twice, rows that fell, datagrams refused
}

type arrival struct {
	lane   fabric.Lane
	class  fabric.Class
	link   uint64
	stream uint64
	stamp  fabric.Stamp
	size   int
	digest uint64 // of patch and body
}

type ticketAt struct {
	from, to fabric.MemberID
	ticket   uint64
}

func newOutcome() *Outcome {
	return &Outcome{
		lanes: make(map[[2]fabric.MemberID]*[fabric.Lanes][]arrival), tickets: make(map[ticketAt]string), rows: make(map[[2]fabric.MemberID]string),
	}
}

func (o *Outcome) arrive(from, to fabric.MemberID, a arrival) {
	pair := [2]fabric.MemberID{from, to}
	if o.lanes[pair] == nil {
		o.lanes[pair] = new([fabric.Lanes][]arrival)
	}
	o.lanes[pair][a.lane] = append(o.lanes[pair][a.lane], a)
}

func (o *Outcome) settle(from fabric.MemberID, r fabric.Resolution) {
	key, how := ticketAt{from, r.To, r.Ticket}, "acked in "+r.Lane.String()
	if !r.Acked() {
		how = "lost in " + r.Lane.String() + ": " + r.Err.Error()
	}
	if before, ok := o.tickets[key]; ok {
		o.fault("ticket %d of %s at %s is settled twice: %s, then %s", key.ticket, from, r.To, before, how)
	}
	o.tickets[key] = how
}

func (o *Outcome) row(owner, to fabric.MemberID, row fabric.Row) {
	o.rows[[2]fabric.MemberID{owner, to}] = fmt.Sprintf("%s %d.%d, %d bytes, %x", row.Owner, row.Incarnation, row.Version, len(row.Sections), digest(row.Sections))
}

func (o *Outcome) fault(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// maxDifferences keeps two runs that have nothing in common from flooding the
// output: so many lines of each kind.
const maxDifferences = 6

// Diff says in what o differs from want, a few lines at most; nothing if they
// are equal.
func (o *Outcome) Diff(want *Outcome) []string {
	var d, lanes, tickets, rows differences
	for _, w := range o.wrong {
		d.add("%s", w)
	}
	for _, w := range want.wrong {
		d.add("the other run: %s", w)
	}
	for _, pair := range keys(o.lanes, want.lanes) {
		for lane := range fabric.Lanes {
			lanes.lane(pair, lane, of(o.lanes[pair], lane), of(want.lanes[pair], lane))
		}
	}
	for _, key := range keys(o.tickets, want.tickets) {
		if got, w := o.tickets[key], want.tickets[key]; got != w {
			tickets.add("ticket %d of %s at %s: %q, want %q", key.ticket, key.from, key.to, got, w)
		}
	}
	for _, pair := range keys(o.rows, want.rows) {
		if got, w := o.rows[pair], want.rows[pair]; got != w {
			rows.add("row of %s at %s: %q, want %q", pair[0], pair[1], got, w)
		}
	}
	return slices.Concat(d.lines, lanes.lines, tickets.lines, rows.lines)
}

type differences struct{ lines []string }

func (d *differences) add(format string, args ...any) {
	if len(d.lines) < maxDifferences {
		d.lines = append(d.lines, fmt.Sprintf(format, args...))
	}
}

// lane compares the frames of one lane, and tells of the first difference.
func (d *differences) lane(pair [2]fabric.MemberID, lane int, got, want []arrival) {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			d.add("%s to %s in %v: delivered %d frames, want %d; the first that is missing: %+v", pair[0], pair[1], fabric.Lane(lane), len(got), len(want), want[i])
			return
		case i >= len(want):
			d.add("%s to %s in %v: delivered %d frames, want %d; the first too many: %+v", pair[0], pair[1], fabric.Lane(lane), len(got), len(want), got[i])
			return
		case got[i] != want[i]:
			d.add("%s to %s in %v: delivered frame %d is %+v, want %+v", pair[0], pair[1], fabric.Lane(lane), i, got[i], want[i])
			return
		}
	}
}

func of(lanes *[fabric.Lanes][]arrival, lane int) []arrival {
	if lanes == nil {
		return nil
	}
	return lanes[lane]
}

// keys are those of both maps, each once; in what order does not matter but to
// the reader, and is not fixed.
func keys[K comparable, V any](a, b map[K]V) []K {
	all := maps.Clone(a)
	if all == nil {
		all = make(map[K]V)
	}
	maps.Copy(all, b)
	return slices.Collect(maps.Keys(all))
}
