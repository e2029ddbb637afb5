package simulate

import (
	"hash/crc32"
	"slices"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/ordered"
)

// Views and the agreed order: B1, B2, O1, O2, O3, V1 and V2.

const (
	// checkOrder: an endpoint blames a member that is honest.
	checkOrder = "order"
	checkB1    = "B1"
	checkB2    = "B2"
	checkO1    = "O1"
	checkO2    = "O2"
	checkO3    = "O3"
	checkV1    = "V1"
	checkV2    = "V2"
)

// orderCheck knows what was sent in agreed order, by whom, and what each view is.
type orderCheck struct {
	c       *cluster
	frames  map[agreedKey]agreedRecord
	views   map[uint64]barrier.ViewID // by number
	between map[[2]barrier.ViewID]betweenRecord
	// taken is what each life was seen to have received in a view.
	taken map[lifeView][]uint64
}

type agreedKey struct {
	life barrier.Life
	view barrier.ViewID
	seq  uint64
}

type agreedRecord struct {
	class  fabric.Class
	digest uint32
	stamp  fabric.Stamp // once it is known
}

type lifeView struct {
	life barrier.Life
	view barrier.ViewID
}

// betweenRecord is what the first member delivered between two views.
type betweenRecord struct {
	by     fabric.MemberID
	digest uint64
	count  int
}

// orderRecord is what was seen of one incarnation.
type orderRecord struct {
	view      barrier.ViewID
	members   []barrier.Life
	digest    uint64
	count     int
	last      fabric.Stamp
	lastBy    fabric.MemberID
	barrier   fabric.Stamp
	received  []uint64
	delivered map[agreedKey]bool
}

func (k *orderCheck) init(c *cluster) {
	*k = orderCheck{c: c, frames: map[agreedKey]agreedRecord{}, views: map[uint64]barrier.ViewID{}, between: map[[2]barrier.ViewID]betweenRecord{}, taken: map[lifeView][]uint64{}}
}

// sent: a member numbered a frame.
func (k *orderCheck) sent(life barrier.Life, view barrier.ViewID, seq uint64, class fabric.Class, body []byte) {
	k.frames[agreedKey{life, view, seq}] = agreedRecord{class: class, digest: crc32.Checksum(body, castagnoli)}
}

// stamped: what a member sent has this stamp.
func (k *orderCheck) stamped(n *node, s *ordered.Send) {
	if len(s.Body) == 0 || s.Body[0] != 0 { // of another member, or no frame of the order
		return
	}
	key := agreedKey{n.ord.Core().Barrier().Self(), n.seen.view, s.Stream}
	if f, known := k.frames[key]; known {
		f.stamp = s.Stamp
		k.frames[key] = f
	}
}

// acted: an endpoint has taken an input.
func (k *orderCheck) acted(n *node) {
	b := n.ord.Core().Barrier()
	r := &n.seen
	now := b.Barrier()
	if h := k.c.cfg.hooks.barrier; h != nil {
		now = h(n, now)
	}
	if now.Before(r.barrier) {
		k.c.fail(checkB1, "%s: barrier falls from %v to %v", b.Self(), r.barrier, now)
	}
	passed := r.barrier
	r.barrier = now
	v, member := b.View()
	if !member || b.ViewID() != r.view {
		return // it is told of first
	}
	moved := r.received == nil
	if moved {
		r.received = make([]uint64, len(v.Members))
		for i := range v.Members {
			r.received[i] = b.Received(i)
		}
	}
	for i, life := range v.Members {
		for seq := r.received[i] + 1; seq <= b.Received(i); seq++ {
			if s := k.frames[agreedKey{life, r.view, seq}].stamp; !s.IsZero() && !passed.Before(s) {
				k.c.fail(checkB2, "%s takes %d of %s, stamped %v, after it has passed %v", b.Self(), seq, life, s, passed)
			}
		}
		if n := b.Received(i); n > r.received[i] {
			r.received[i], moved = n, true
		}
	}
	if moved {
		k.taken[lifeView{b.Self(), r.view}] = slices.Clone(r.received)
	}
}

// happened: an endpoint delivers, or installs a view.
func (k *orderCheck) happened(n *node, e *ordered.Event) {
	if h := k.c.cfg.hooks.told; h != nil && !h(n, e) {
		return
	}
	if e.View != nil {
		k.installed(n, e.View)
		return
	}
	r := &n.seen
	key := agreedKey{e.From, r.view, e.Seq}
	f, known := k.frames[key]
	switch {
	case !known:
		k.c.fail(checkO2, "%s is delivered %v in %v, which nobody sent", n.m.id, key, r.view)
	case f.digest != crc32.Checksum(e.Body, castagnoli):
		k.c.fail(checkO2, "%s is delivered %v altered", n.m.id, key)
	case r.delivered[key]:
		k.c.fail(checkO2, "%s is delivered %v twice", n.m.id, key)
	}
	if e.Stamp.Before(r.last) || e.Stamp == r.last && e.From.Member <= r.lastBy {
		k.c.fail(checkB2, "%s is delivered %v of %s, stamped %v, after one stamped %v", n.m.id, e.Seq, e.From, e.Stamp, r.last)
	}
	if e.Class == fabric.ClassSafe && e.Safe {
		k.safe(n, e)
	}
	if r.delivered == nil {
		r.delivered = map[agreedKey]bool{}
	}
	r.delivered[key] = true
	r.last, r.lastBy = e.Stamp, e.From.Member
	r.digest = (r.digest^e.Seq^uint64(e.From.Member)<<32)*0x9e37_79b9_7f4a_7c15 ^ e.From.Incarnation<<8 ^ uint64(e.From.Generation)
	r.count++
	k.c.report.Delivered++
}

// safe: all members of the view have it, as far as was seen.
func (k *orderCheck) safe(n *node, e *ordered.Event) {
	r := &n.seen
	of := slices.Index(r.members, e.From)
	for _, life := range r.members {
		if got := k.taken[lifeView{life, r.view}]; of < 0 || of >= len(got) || got[of] < e.Seq {
			k.c.fail(checkO3, "%s is delivered %d of %s as safe in %v, which %s does not have", n.m.id, e.Seq, e.From, r.view, life)
		}
	}
}

func (k *orderCheck) installed(n *node, in *barrier.Installed) {
	id := in.View.ID()
	k.c.report.Views++
	if was, known := k.views[id.Number]; known && was != id {
		k.c.fail(checkV1, "%s installs %v, another member %v", n.m.id, id, was)
	}
	k.views[id.Number] = id
	r := &n.seen
	if in.Stayed {
		key := [2]barrier.ViewID{r.view, id}
		b, known := k.between[key]
		if !known {
			k.between[key] = betweenRecord{n.m.id, r.digest, r.count}
		} else if b.digest != r.digest || b.count != r.count {
			k.c.fail(checkO1, "between %v and %v %s was delivered %d frames (digest %x), %s %d (%x)", key[0], key[1], n.m.id, r.count, r.digest, b.by, b.count, b.digest)
		}
	}
	r.view, r.members, r.digest, r.count, r.received = id, in.View.Members, 0, 0, nil
	if !in.Stayed {
		r.last, r.lastBy, r.barrier = in.View.Floor, 0, fabric.Stamp{}
	}
}

// settled is V2: in the calm at the end all voters that live are in one view.
func (k *orderCheck) settled() {
	leader := k.c.leader()
	if leader == nil || leader.node.ord == nil {
		return // another check's
	}
	want, _ := leader.node.ord.Core().Barrier().View()
	for _, m := range k.c.members {
		if m.gone || m.dead || m.paused > 0 || !isVoter(leader.node.conf, uint64(m.id)) {
			continue
		}
		n := m.node
		if n.ord == nil {
			k.c.fail(checkV2, "%s has no views at the end", m.id)
			continue
		}
		b := n.ord.Core().Barrier()
		if v, member := b.View(); !member || b.Wedged() || v.ID() != want.ID() || k.c.cfg.hooks.told != nil && n.seen.view != want.ID() {
			k.c.fail(checkV2, "%s is in %v at the end (a member: %v, it changes: %v), the leader %s in %v", m.id, v.ID(), member, b.Wedged(), leader.id, want.ID())
		}
	}
}
