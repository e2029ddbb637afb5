package ordered

import (
	"context"
	"sync"
)

// events are what waits for Receive.
type events struct {
	mu      sync.Mutex
	list    []Event
	most    int
	low     bool // tell when there is room again
	ended   bool
	arrived chan struct{} // holds one: the list is not empty, or it ended
	room    chan struct{} // holds one: the list is below most
}

func (q *events) init(most int) {
	q.most, q.arrived, q.room = most, make(chan struct{}, 1), make(chan struct{}, 1)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add takes events; full says that there shall be no more for now.
func (q *events) add(es []Event) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, es...)
	if len(q.list) > 0 {
		signal(q.arrived)
	}
	q.low = q.low || len(q.list) >= q.most
	return q.low
}

// take returns the first event. low: there is room again, and add had said that
// there was not.
func (q *events) take(ctx context.Context) (e Event, low bool, err error) {
	for {
		q.mu.Lock()
		if len(q.list) > 0 {
			e, q.list = q.list[0], q.list[1:]
			if low = q.low && len(q.list) <= q.most/2; low {
				q.low = false
			}
			if len(q.list) < q.most {
				signal(q.room)
			}
			if len(q.list) > 0 {
				signal(q.arrived)
			}
			q.mu.Unlock()
			return e, low, nil
		}
		q.list = nil
		ended := q.ended
		q.mu.Unlock()
		if ended {
			signal(q.arrived) // for the next caller
			return e, false, ErrClosed
		}
		select {
		case <-q.arrived:
		case <-ctx.Done():
			return e, false, ctx.Err()
		}
	}
}

// crowded reports whether there is no room for more than so many further ones.
func (q *events) crowded(coming int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)+coming >= q.most && !q.ended
}

// wait waits until there is room, or the end.
func (q *events) wait() {
	for {
		q.mu.Lock()
		ok := len(q.list) < q.most || q.ended
		q.mu.Unlock()
		if ok {
			signal(q.room) // for the next one that waits
			return
		}
		<-q.room
	}
}

func (q *events) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	signal(q.arrived)
	signal(q.room)
}
