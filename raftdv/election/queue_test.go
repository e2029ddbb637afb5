package election

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// happening is what is to happen: to a member, in the life in which it was
// planned, or to the world. With a message or a row it is its arrival, with
// nothing the time at which the member's arbiter wants to be asked.
type happening struct {
	n    *node
	life uint64
	m    *raftpb.Message
	row  *fabric.Row
	do   func()
}

// queue is what is to happen, the earliest first, of one time what was planned
// first. The heap holds no pointers: the collector does not look at it.
type queue struct {
	heap  []key
	slots []happening
	free  []int32
	seq   uint64
}

type key struct {
	at   time.Duration
	seq  uint64
	slot int32
}

func (k *key) before(o *key) bool { return k.at < o.at || k.at == o.at && k.seq < o.seq }

// due reports whether something happens until then.
func (q *queue) due(until time.Duration) bool { return len(q.heap) > 0 && q.heap[0].at <= until }

func (q *queue) push(at time.Duration, h happening) {
	slot := int32(len(q.slots))
	if n := len(q.free); n > 0 {
		slot, q.free = q.free[n-1], q.free[:n-1]
		q.slots[slot] = h
	} else {
		q.slots = append(q.slots, h)
	}
	q.seq++
	k := key{at, q.seq, slot}
	i := len(q.heap)
	q.heap = append(q.heap, k)
	for i > 0 {
		up := (i - 1) / 2
		if !k.before(&q.heap[up]) {
			break
		}
		q.heap[i] = q.heap[up]
		i = up
	}
	q.heap[i] = k
}

func (q *queue) pop() (time.Duration, happening) {
	top, n := q.heap[0], len(q.heap)-1
	k := q.heap[n]
	q.heap = q.heap[:n]
	for i := 0; n > 0; {
		down := 2*i + 1
		if down+1 < n && q.heap[down+1].before(&q.heap[down]) {
			down++
		}
		if down >= n || !q.heap[down].before(&k) {
			q.heap[i] = k
			break
		}
		q.heap[i] = q.heap[down]
		i = down
	}
	h := q.slots[top.slot]
	q.slots[top.slot] = happening{}
	q.free = append(q.free, top.slot)
	return top.at, h
}
