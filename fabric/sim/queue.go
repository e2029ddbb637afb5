package sim

import "github.com/raftdv/dv/fabric"

// event is something that happens at an instant.
type event struct {
	kind    kind
	lane    uint8
	corrupt bool
	kick    bool // of an ack: there is room again
	gen     uint32
	link    *link
	lo, hi  uint64 // link sequences; of an ack the packet that it answers
	floor   uint64 // of frames: the lowest that the sender still works on; of an ack: the first that is missing
	row     *fabric.Row
	call    func()
	port    *Port
}

type kind uint8

const (
	evFrames kind = iota
	evAck
	evTimer
	evRow
	evRowAck
	evRowTimer
	evDrain
	evUp
	evCheck
	evBye
	evSent
	evCall
	evNIC
)

var kindNames = [...]string{"frames", "ack", "timer", "row", "row ack", "row timer", "drain", "up", "check", "bye", "sent", "call", "nic"}

// key orders events by time, then by when they were scheduled. It holds no
// pointer, so that the heap moves 16 bytes and no write barrier runs.
type key struct {
	at  int64
	ord uint64 // count, then slot
}

const (
	slotBits = 24
	// maxPending bounds the events that wait.
	maxPending = 1 << slotBits
)

func (a key) before(b key) bool { return a.at < b.at || a.at == b.at && a.ord < b.ord }

// queue is a heap of four children per node.
type queue struct {
	keys  []key
	slots []event
	free  []uint32
	count uint64
}

// push returns the slot, for the caller to fill in.
func (q *queue) push(at int64) *event {
	var slot uint32
	if n := len(q.free); n > 0 {
		slot = q.free[n-1]
		q.free = q.free[:n-1]
	} else {
		if len(q.slots) == maxPending {
			panic("sim: more than 16 million events wait: does a handler or timer schedule without end?")
		}
		slot = uint32(len(q.slots))
		q.slots = append(q.slots, event{})
	}
	k := key{at, q.count<<slotBits | uint64(slot)}
	q.count++
	i := len(q.keys)
	q.keys = append(q.keys, k)
	for i > 0 {
		up := (i - 1) / 4
		if !k.before(q.keys[up]) {
			break
		}
		q.keys[i] = q.keys[up]
		i = up
	}
	q.keys[i] = k
	return &q.slots[slot]
}

// pop takes the first event out; the queue is not empty.
func (q *queue) pop() (at int64, ev event) {
	first, n := q.keys[0], len(q.keys)-1
	k := q.keys[n]
	q.keys = q.keys[:n]
	if n > 0 {
		q.keys[q.sink(k)] = k
	}
	slot := uint32(first.ord & (maxPending - 1))
	ev = q.slots[slot]
	q.slots[slot] = event{}
	q.free = append(q.free, slot)
	return first.at, ev
}

// sink finds the place of k, starting from a hole at the root.
func (q *queue) sink(k key) int {
	i, n := 0, len(q.keys)
	for {
		child := 4*i + 1
		if child >= n {
			return i
		}
		least := child
		for c := child + 1; c < min(child+4, n); c++ {
			if q.keys[c].before(q.keys[least]) {
				least = c
			}
		}
		if !q.keys[least].before(k) {
			return i
		}
		q.keys[i] = q.keys[least]
		i = least
	}
}
