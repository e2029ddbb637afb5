package raftdv

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// EventsKept bounds the events of a process that are kept for watchers.
const EventsKept = 1024

// Event is something that happened to a transport. Of Path, Link, Activity,
// Election and View one is set.
type Event struct {
	// Number rises by one with each event of the process.
	Number   uint64         `json:"number"`
	Time     time.Time      `json:"time"`
	Member   string         `json:"member"` // whose transport it is
	Peer     string         `json:"peer"`   // whom it is about, "" if nobody
	Path     *PathEvent     `json:"path,omitempty"`
	Link     *LinkEvent     `json:"link,omitempty"`
	Activity *ActivityEvent `json:"activity,omitempty"`
	Election *ElectionEvent `json:"election,omitempty"`
	View     *ViewEvent     `json:"view,omitempty"`
}

// PathEvent: messages to the peer take another road.
type PathEvent struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Reason string `json:"reason,omitempty"`
}

// LinkEvent: a fabric reaches the peer, or does not any more.
type LinkEvent struct {
	Fabric string `json:"fabric"`
	Up     bool   `json:"up"`
	Reason string `json:"reason,omitempty"`
}

// ActivityEvent: the peer's transport is heard on its control stream, or not
// any more.
type ActivityEvent struct {
	Heard  bool   `json:"heard"`
	Reason string `json:"reason,omitempty"`
}

// ViewEvent: a view was installed. Member: this member belongs to it; Stayed: and
// to the one before.
type ViewEvent struct {
	Number  uint64   `json:"number"`
	Members []string `json:"members"`
	Member  bool     `json:"member"`
	Stayed  bool     `json:"stayed"`
}

func (e *ViewEvent) text() string {
	if !e.Member {
		return fmt.Sprintf("view %d has %s, not this member", e.Number, strings.Join(e.Members, ", "))
	}
	return fmt.Sprintf("view %d has %s", e.Number, strings.Join(e.Members, ", "))
}

func (e *Event) String() string {
	switch {
	case e.View != nil:
		return e.View.text()
	case e.Path != nil:
		return fmt.Sprintf("messages to %s take %s, not %s any more%s", e.Peer, e.Path.To, e.Path.From, because(e.Path.Reason))
	case e.Link != nil && e.Link.Up:
		return fmt.Sprintf("%s reaches %s", e.Link.Fabric, e.Peer)
	case e.Link != nil:
		return fmt.Sprintf("%s does not reach %s%s", e.Link.Fabric, e.Peer, because(e.Link.Reason))
	case e.Activity != nil && e.Activity.Heard:
		return e.Peer + " is heard"
	case e.Activity != nil:
		return fmt.Sprintf("%s is not heard any more%s", e.Peer, because(e.Activity.Reason))
	case e.Election != nil:
		return e.Election.text(e.Peer)
	}
	return fmt.Sprintf("event %d about %s", e.Number, e.Peer)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// eventLog keeps the last events for any number of readers.
type eventLog struct {
	mu      sync.Mutex // guards the fields below
	last    uint64
	ring    []Event // event n at (n-1) % EventsKept
	changed chan struct{}
}

// happened are the events of this process.
var happened eventLog

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.Number = l.last
	if len(l.ring) < EventsKept {
		l.ring = append(l.ring, e)
	} else {
		l.ring[(e.Number-1)%EventsKept] = e
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// after returns the events with greater numbers, how many of them are not kept
// any more, and what is closed when there is another one.
func (l *eventLog) after(number uint64) (events []Event, missed uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if oldest := l.last - uint64(len(l.ring)); number < oldest {
		missed, number = oldest-number, oldest
	}
	for n := number + 1; n <= l.last; n++ {
		events = append(events, l.ring[(n-1)%EventsKept])
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return events, missed, l.changed
}

// LastEvent is the number of the last event of this process, 0 if there was
// none.
func LastEvent() uint64 {
	happened.mu.Lock()
	defer happened.mu.Unlock()
	return happened.last
}

// EventsAfter returns the events of all transports of this process with greater
// numbers, as far as they are kept, how many are not, and a channel that is
// closed when there is another one.
func EventsAfter(number uint64) (events []Event, missed uint64, changed <-chan struct{}) {
	return happened.after(number)
}

// happened adds an event about the peer.
func (p *peer) happened(e Event) {
	e.Time, e.Member, e.Peer = time.Now(), p.t.ID.String(), p.id.String()
	happened.add(e)
}
