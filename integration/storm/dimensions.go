package storm

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raftdv/dv/fabric/sim"
)

// A dimension is one thing that a matrix may vary. Values have one way to be written,
// so that cells, files and seeds agree on them.
type dimension struct {
	name  string
	usual string // of a spec that says nothing
	about string
	// one of:
	names    func() []string // what is allowed
	whole    *[2]int         // from, to
	share    *[2]float64     // from, to
	duration *[2]time.Duration
	yesNo    bool
}

// MaxMembers bounds the members of a cluster.
const MaxMembers = 101

// dimensions in the order of columns.
var dimensions = []dimension{
	{name: "transport", usual: "dv", about: "what carries raft's messages, and what of it is left out", names: TransportNames},
	{name: "members", usual: "3", about: "voters", whole: &[2]int{1, MaxMembers}},
	{name: "link", usual: "ethernet", about: "model of the network (docs/link-models.md)", names: linkNames},
	{name: "fault", usual: "crash-leader", about: "what goes wrong", names: FaultNames},
	{name: "crashes", usual: "1", about: "members that crash one after the other, the leader first, where the fault crashes several; those that would leave no majority do not", whole: &[2]int{0, MaxMembers / 2}},
	{name: "loss", usual: "0", about: "share of packets that are lost", share: &[2]float64{0, 0.5}},
	{name: "skew", usual: "0", about: "entries by which half of the followers lag when the fault strikes", whole: &[2]int{0, 1000}},
	{name: "heartbeat", usual: "100ms", about: "raft's heartbeat interval, a tick", duration: &[2]time.Duration{time.Millisecond, time.Second}},
	{name: "election", usual: "1s", about: "raft's election timeout, a multiple of the heartbeat interval", duration: &[2]time.Duration{5 * time.Millisecond, 10 * time.Second}},
	{name: "prevote", usual: "true", about: "raft's PreVote", yesNo: true},
	{name: "checkquorum", usual: "true", about: "raft's CheckQuorum", yesNo: true},
}

func linkNames() (names []string) {
	for _, m := range sim.Models() {
		names = append(names, m.Name)
	}
	return names
}

func dimensionNames() (names []string) {
	for i := range dimensions {
		names = append(names, dimensions[i].name)
	}
	return names
}

func dimensionIndex(name string) int {
	return slices.IndexFunc(dimensions, func(d dimension) bool { return d.name == name })
}

// allowed says what values there are.
func (d *dimension) allowed() string {
	switch {
	case d.names != nil:
		return "any of " + strings.Join(d.names(), ", ")
	case d.whole != nil:
		return fmt.Sprintf("a whole number from %d to %d", d.whole[0], d.whole[1])
	case d.share != nil:
		return fmt.Sprintf("a number from %g to %g", d.share[0], d.share[1])
	case d.duration != nil:
		return fmt.Sprintf("a time from %v to %v, like 150ms", d.duration[0], d.duration[1])
	default:
		return "true or false"
	}
}

// parse returns a value as it is written in results.
func (d *dimension) parse(text string) (string, error) {
	wrong := fmt.Errorf("%s: %q: use %s", d.name, text, d.allowed())
	switch {
	case d.names != nil:
		if !slices.Contains(d.names(), text) {
			return "", wrong
		}
		return text, nil
	case d.whole != nil:
		n, err := strconv.Atoi(text)
		if err != nil || n < d.whole[0] || n > d.whole[1] {
			return "", wrong
		}
		return strconv.Itoa(n), nil
	case d.share != nil:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || x < d.share[0] || x > d.share[1] {
			return "", wrong
		}
		return strconv.FormatFloat(x, 'g', -1, 64), nil
	case d.duration != nil:
		t, err := time.ParseDuration(text)
		if err != nil || t < d.duration[0] || t > d.duration[1] {
			return "", wrong
		}
		return t.String(), nil
	default:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "", wrong
		}
		return strconv.FormatBool(b), nil
	}
}
