package fabrictest

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Script is a fixed sequence of what the members of a cluster do: sends of all
// sizes, lanes and destinations, with and without patches, in batches; rows;
// members that do not return from Deliver for a while; pauses in which all that
// is under way settles. What a port delivers does not depend on how it works
// inside: [Play] gives the same [Outcome] on every port and with all of a port's
// settings. That is a metamorphic relation (Chen, Cheung, Yiu: Metamorphic
// testing, HKUST-CS98-01, 1998): it needs nobody to say what is right, only that
// two runs agree.
type Script struct {
	// Members is their number.
	Members int
	// Options are what the script needs of a port; more may be given.
	Options Options
	steps   []step
	// patience bounds each wait.
	patience time.Duration
}

// step is one thing that happens; exactly one field is set.
type step struct {
	batch  []scriptFrame // one Send of one member
	row    *scriptRow
	stall  int // a member, counted from 1
	resume int
	pause  bool
}

// scriptFrame is a frame of a batch. Members are named by their ranks.
type scriptFrame struct {
	from    int
	to      []int
	lane    fabric.Lane
	class   fabric.Class
	size    int
	patches []int // sizes; nil: none
	ticket  uint64
	stamp   fabric.Stamp
}

type scriptRow struct {
	owner   int
	version uint64
	size    int
	prompt  []int
}

// What a script keeps to, so that no frame of it is ever refused: a member has
// at most a quarter of a queue's bytes and frames under way before it sends, sends
// at most a quarter of the bytes and scriptBatch frames at once, and a quarter to
// a member that is stalled.
const (
	scriptQueue    = 1 << 20
	scriptMaxFrame = 100_000
	scriptFrames   = 400 // of a queue
	scriptWeight   = 128 // what any port adds to a frame's bytes, at most
	scriptBatch    = 40
	scriptShare    = scriptQueue / scriptFrames // what a small frame counts for while its receiver is stalled
)

// NewScript makes a script of so many steps from a seed.
func NewScript(seed uint64, steps int) *Script {
	g := &scripter{
		rng: rand.New(rand.NewPCG(seed, 0x5c71)),
		s: &Script{
			Members: 3, patience: scriptPatience,
			Options: Options{TicketTimeout: 2 * scriptPatience, QueueBytes: scriptQueue, MaxFrame: scriptMaxFrame, RowInterval: defaultOptions.RowInterval},
		},
		version: make(map[int]uint64), toStalled: make(map[flow]int),
	}
	for len(g.s.steps) < steps {
		g.step()
	}
	g.resume()
	g.add(step{pause: true})
	return g.s
}

// flow is one lane from one member to another.
type flow struct {
	from, to int
	lane     fabric.Lane
}

type scripter struct {
	rng       *rand.Rand
	s         *Script
	tickets   uint64
	version   map[int]uint64
	stalled   int          // a member, counted from 1; 0: none
	toStalled map[flow]int // bytes since then
}

func (g *scripter) add(s step) { g.s.steps = append(g.s.steps, s) }

func (g *scripter) resume() {
	if g.stalled > 0 {
		g.add(step{resume: g.stalled})
		g.stalled = 0
		clear(g.toStalled)
	}
}

func (g *scripter) step() {
	switch g.rng.IntN(20) {
	case 0:
		g.resume()
		g.add(step{pause: true})
	case 1:
		g.resume()
		g.stalled = 1 + g.rng.IntN(g.s.Members)
		g.add(step{stall: g.stalled})
	case 2, 3, 4:
		g.row()
	default:
		g.send()
	}
}

func (g *scripter) row() {
	owner := g.rng.IntN(g.s.Members)
	g.version[owner]++
	g.add(step{row: &scriptRow{owner: owner, version: g.version[owner], size: g.rng.IntN(900), prompt: g.others(owner, g.rng.IntN(g.s.Members))}})
}

// others draws count members that are not one.
func (g *scripter) others(but, count int) []int {
	var list []int
	for _, m := range g.rng.Perm(g.s.Members) {
		if m != but && len(list) < count {
			list = append(list, m)
		}
	}
	return list
}

func (g *scripter) send() {
	from, count := g.rng.IntN(g.s.Members), 1
	if g.rng.IntN(2) == 0 {
		count += g.rng.IntN(scriptBatch)
	}
	weights := make(map[flow]int)
	var batch []scriptFrame
	for range count {
		f := g.frame(from)
		if !g.fits(&f, weights) {
			break
		}
		batch = append(batch, f)
	}
	if len(batch) > 0 {
		g.add(step{batch: batch})
		return
	}
	g.resume() // nothing more for the stalled one
}

// fits counts a frame against what a batch, and a stalled member, may get.
func (g *scripter) fits(f *scriptFrame, weights map[flow]int) bool {
	for k, to := range f.to {
		fl := flow{f.from, to, f.lane}
		w := f.weight(k)
		if weights[fl]+w > scriptQueue/4 || to+1 == g.stalled && g.toStalled[fl]+max(w, scriptShare) > scriptQueue/4 {
			return false
		}
	}
	for k, to := range f.to {
		fl := flow{f.from, to, f.lane}
		weights[fl] += f.weight(k)
		if to+1 == g.stalled {
			g.toStalled[fl] += max(f.weight(k), scriptShare)
		}
	}
	return true
}

func (g *scripter) frame(from int) scriptFrame {
	g.tickets++
	f := scriptFrame{
		from: from, to: g.others(from, 1+g.rng.IntN(g.s.Members-1)), lane: fabric.Lane(g.rng.IntN(fabric.Lanes)), size: g.size(), ticket: g.tickets,
	}
	if g.rng.IntN(4) == 0 {
		f.class = fabric.ClassFIFO
	}
	if g.rng.IntN(4) == 0 {
		f.stamp = fabric.Stamp{Time: int64(g.tickets), Logical: 7}
	}
	if g.rng.IntN(3) == 0 {
		for range f.to {
			f.patches = append(f.patches, g.rng.IntN(min(fabric.MaxPatch, scriptMaxFrame-f.size)+1))
		}
	}
	return f
}

// size draws a body: mostly small ones, those around the limits of datagrams and
// buffers, some up to the largest.
func (g *scripter) size() int {
	edges := []int{1, 2, 1150, 1200, 1400, 1440, 1472, 4096, 16 << 10, 64 << 10, 65_507, scriptMaxFrame}
	switch n := g.rng.IntN(100); {
	case n < 60:
		return 1 + g.rng.IntN(300)
	case n < 85:
		return 1 + g.rng.IntN(3000)
	case n < 97:
		return min(scriptMaxFrame, max(1, edges[g.rng.IntN(len(edges))]+g.rng.IntN(65)-32))
	}
	return 1 + g.rng.IntN(scriptMaxFrame)
}

// weight is what a frame counts at most against the queue of one destination.
func (f *scriptFrame) weight(k int) int {
	if f.patches == nil {
		return f.size + scriptWeight
	}
	return f.size + f.patches[k] + scriptWeight
}

// fill returns size bytes that are different for each frame, destination and
// position.
func fill(ticket uint64, part, size int) []byte {
	b := make([]byte, size)
	x := ticket*0x9e37_79b9_7f4a_7c15 + uint64(part)*0xd1b5_4a32_d192_ed03 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func digest(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte{byte(len(p)), byte(len(p) >> 8), byte(len(p) >> 16)})
		h.Write(p)
	}
	return h.Sum64()
}

// outgoing is the frame as a port is handed it.
func (f *scriptFrame) outgoing(ids []fabric.MemberID) fabric.Outgoing {
	o := fabric.Outgoing{Lane: f.lane, Class: f.class, Stream: f.ticket, Stamp: f.stamp, Ticket: f.ticket, Body: fill(f.ticket, 0, f.size)}
	for k, to := range f.to {
		o.To = append(o.To, ids[to])
		if f.patches != nil {
			o.Patch = append(o.Patch, fill(f.ticket, 1+to, f.patches[k]))
		}
	}
	return o
}

func (r *scriptRow) sections() []byte {
	value := fill(r.version, 100+r.owner, r.size)
	return fabric.AppendSection(nil, fabric.Section{ID: fabric.SectionRaft, Version: 1, Value: value})
}

// Expected is the outcome that the contract promises for s on members with these
// ids.
func (s *Script) Expected() *Outcome {
	o, ids := newOutcome(), memberIDs(s.Members)
	next := make(map[flow]uint64)
	for _, st := range s.steps {
		for _, f := range st.batch {
			for k, to := range f.to {
				fl := flow{f.from, to, f.lane}
				next[fl]++
				var patch []byte
				if f.patches != nil {
					patch = fill(f.ticket, 1+to, f.patches[k])
				}
				o.arrive(ids[f.from], ids[to], arrival{
					lane: f.lane, class: f.class, link: next[fl], stream: f.ticket, stamp: f.stamp, size: f.size, digest: digest(patch, fill(f.ticket, 0, f.size)),
				})
				o.settle(ids[f.from], fabric.Resolution{To: ids[to], Ticket: f.ticket, Lane: f.lane})
			}
		}
		if r := st.row; r != nil {
			for to := range s.Members {
				if to != r.owner {
					o.row(ids[r.owner], ids[to], fabric.Row{Owner: ids[r.owner], Incarnation: 1, Version: r.version, Sections: r.sections()})
				}
			}
		}
	}
	return o
}

// frames counts the deliveries of a script, and their bytes.
func (s *Script) frames() (count, bytes int) {
	for _, st := range s.steps {
		for _, f := range st.batch {
			count += len(f.to)
			bytes += len(f.to) * f.size
		}
	}
	return count, bytes
}

// kinds counts the steps of each kind, for tests of the generator.
func (s *Script) kinds() (batches, rows, stalls, pauses int) {
	for _, st := range s.steps {
		switch {
		case st.batch != nil:
			batches++
		case st.row != nil:
			rows++
		case st.stall > 0:
			stalls++
		case st.pause:
			pauses++
		}
	}
	return batches, rows, stalls, pauses
}

// lastRow is the newest version of each member's row.
func (s *Script) lastRow() map[int]uint64 {
	last := make(map[int]uint64)
	for _, st := range s.steps {
		if st.row != nil {
			last[st.row.owner] = st.row.version
		}
	}
	return last
}

func ranked(ids []fabric.MemberID, ranks []int) []fabric.MemberID {
	list := make([]fabric.MemberID, 0, len(ranks))
	for _, r := range ranks {
		list = append(list, ids[r])
	}
	return slices.Clip(list)
}
