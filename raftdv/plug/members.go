package plug

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// clustered is what the server is besides the raft of its transport.
type clustered interface{ Cluster() api.Cluster }

// membersOf returns how to ask the server for its members. etcd changes one
// member at a time: there is never an outgoing half.
func membersOf(server any) func() election.Members {
	c, ok := server.(clustered)
	if !ok {
		return func() (m election.Members) { return m } // nobody votes: elections are raft's own
	}
	var q memberQuery
	return func() election.Members {
		cluster := c.Cluster()
		if cluster == nil {
			return election.Members{}
		}
		return q.ask(cluster)
	}
}

// memberQuery remembers the last answer: the epoch takes some work.
type memberQuery struct {
	mu   sync.Mutex // guards the fields below
	last []seat
	m    election.Members
}

// seat is a member's place in a configuration.
type seat struct {
	id      types.ID
	learner bool
}

func seats(cluster api.Cluster) (s []seat) {
	for _, m := range cluster.Members() { // in the order of their ids
		s = append(s, seat{m.ID, m.IsLearner})
	}
	return s
}

func (q *memberQuery) ask(cluster api.Cluster) election.Members {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := seats(cluster)
	if q.m.Epoch != 0 && slices.Equal(now, q.last) {
		return q.m
	}
	q.last, q.m = now, election.Members{}
	for _, s := range now {
		if s.learner {
			q.m.Learners = append(q.m.Learners, fabric.MemberID(s.id))
		} else {
			q.m.Voters = append(q.m.Voters, fabric.MemberID(s.id))
		}
	}
	removed, ok := removedFrom(cluster)
	if ok && slices.Equal(now, seats(cluster)) { // else they changed meanwhile: it is known when asked next
		q.m.Epoch = epochOf(len(q.m.Voters), len(q.m.Learners), removed)
	}
	return q.m
}

// epochOf makes of a configuration a number that rises with each change, and is the
// same at all members: etcd never uses an id again, and keeps those that it
// removed. A learner counts 1, a voter 2, who was removed 3.
func epochOf(voters, learners, removed int) uint64 {
	return uint64(learners + 2*voters + 3*removed)
}

// removedKey begins the list of removed members in what a cluster prints.
const removedKey = "RemovedMemberIDs:["

// removedFrom counts the members that were removed from a cluster, which tells them
// nowhere but in its String.
func removedFrom(cluster api.Cluster) (n int, ok bool) {
	c, ok := cluster.(fmt.Stringer)
	if !ok {
		return 0, false
	}
	text := c.String()
	at := strings.LastIndex(text, removedKey) // a member's name may look like it; what follows are ids
	if at < 0 {
		return 0, false
	}
	list, end, ok := strings.Cut(text[at+len(removedKey):], "]")
	if !ok || end != "}" {
		return 0, false
	}
	for id := range strings.FieldsSeq(list) {
		if strings.Trim(id, "0123456789abcdef") != "" {
			return 0, false
		}
		n++
	}
	return n, true
}
