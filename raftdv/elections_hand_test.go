package raftdv

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// What raft does not take in time is bounded; the newest stays.
func TestHandQueueIsBounded(t *testing.T) {
	var q handQueue
	q.init()
	for i := range maxHandQueue + 10 {
		q.add([]*raftpb.Message{{Term: new(uint64(i))}}, nil, 0)
	}
	if n := len(q.items); n != maxHandQueue {
		t.Fatalf("%d messages wait", n)
	}
	if first, last := q.items[0].m.GetTerm(), q.items[maxHandQueue-1].m.GetTerm(); first != 10 || last != maxHandQueue+9 {
		t.Errorf("terms %d to %d are left", first, last)
	}
	if _, lost := q.next(); lost != 10 {
		t.Errorf("%d are told as lost", lost)
	}
	if _, lost := q.next(); lost != 0 {
		t.Errorf("%d are told as lost once more", lost)
	}
}

// Who waits for the queue goes on when the last one taken from it is handed over,
// and not before.
func TestHandQueueIsDrained(t *testing.T) {
	var q handQueue
	q.init()
	if q.empty() != nil {
		t.Fatal("an empty queue is waited for")
	}
	q.add([]*raftpb.Message{{}}, &raftpb.Message{}, 0)
	drained := q.empty()
	done := func() bool {
		select {
		case <-drained:
			return true
		default:
			return false
		}
	}
	if items, _ := q.next(); len(items) != 2 || items[0].campaign || !items[1].campaign || done() {
		t.Fatalf("%+v, drained: %v", items, done())
	}
	q.add([]*raftpb.Message{{}}, nil, 0)
	if items, _ := q.next(); len(items) != 1 || done() {
		t.Fatalf("%+v, drained: %v", items, done())
	}
	if items, _ := q.next(); len(items) != 0 || !done() || q.empty() != nil {
		t.Errorf("%+v, drained: %v, waited for: %v", items, done(), q.empty() != nil)
	}
}
