package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/ordered"
)

// message is what members send each other, in the order of all.
type message struct {
	// A write.
	Key, Value string `json:",omitempty"`
	// The table as it was when the view with this number began, for the members
	// that are new in it.
	View  uint64            `json:",omitempty"`
	Table map[string]string `json:",omitempty"`
}

// table is one member's copy.
type table struct {
	group *ordered.Group

	mu     sync.Mutex
	whole  bool // the copy has all that was written
	cells  map[string]string
	number uint64    // of the view
	served uint64    // lives that are members since that view have the table
	since  []message // what was written in the view, while the copy is not whole
}

func newTable(g *ordered.Group) *table {
	return &table{group: g, cells: map[string]string{}}
}

// errNotReady: the copy is not whole yet.
var errNotReady = errors.New("this member has not got the table yet: ask another one, or again")

// put writes; when it returns without an error, every member that stays in the
// group has the write, or will have it before what follows.
func (t *table) put(ctx context.Context, key, value string) error {
	b, err := json.Marshal(message{Key: key, Value: value})
	if err != nil {
		return err
	}
	for {
		ticket, err := t.group.Send(fabric.ClassAgreed, b)
		switch {
		case err == nil:
			return ticket.Wait(ctx)
		case errors.Is(err, barrier.ErrWedged) || errors.Is(err, barrier.ErrNoMember):
			if err := t.group.WaitReady(ctx); err != nil {
				return err
			}
		default: // the window is full, say: the caller may try again
			return err
		}
	}
}

func (t *table) get(key string) (value string, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.whole {
		return "", false, errNotReady
	}
	value, ok = t.cells[key]
	return value, ok, nil
}

// run applies what the group delivers, until the context ends or the group is
// closed.
func (t *table) run(ctx context.Context) error {
	for {
		e, err := t.group.Receive(ctx)
		if err != nil {
			return err
		}
		if e.View != nil {
			err = t.view(ctx, e.View)
		} else {
			err = t.message(e.Body)
		}
		if err != nil {
			return err
		}
	}
}

// view begins a view. Whoever stays has the same table as all others that stay; who
// is new gets it from the member that has been there for longest.
func (t *table) view(_ context.Context, in *barrier.Installed) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := in.View
	if !in.Stayed {
		t.whole, t.served, t.cells = false, 0, map[string]string{}
	}
	t.number, t.since = v.Number, nil
	if !in.Member {
		return nil
	}
	oldest := slices.Min(v.Since)
	if oldest == v.Number { // all are new: there is no table yet
		t.whole, t.served = true, v.Number
		return nil
	}
	donor := v.Members[slices.Index(v.Since, oldest)].Member
	if donor != t.group.Self() || slices.Max(v.Since) <= t.served {
		return nil
	}
	b, err := json.Marshal(message{View: v.Number, Table: t.cells})
	if err != nil {
		return err
	}
	if _, err := t.group.Send(fabric.ClassAgreed, b); err != nil && !errors.Is(err, barrier.ErrWedged) && !errors.Is(err, barrier.ErrNoMember) {
		return fmt.Errorf("send the table to those that are new: %w", err)
	}
	return nil // if the view changes again, the next one's donor does it
}

func (t *table) message(body []byte) error {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("a message that this program did not write: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case m.View == 0 && t.whole:
		t.cells[m.Key] = m.Value
	case m.View == 0:
		t.since = append(t.since, m)
	case m.View != t.number: // of an older view's beginning: it is sent again
	default:
		t.served = m.View
		if t.whole {
			return nil
		}
		t.whole = true
		maps.Copy(t.cells, m.Table)
		for _, w := range t.since {
			t.cells[w.Key] = w.Value
		}
		t.since = nil
	}
	return nil
}
