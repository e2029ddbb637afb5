package election

import (
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func TestMembersOf(t *testing.T) {
	joint := &raftpb.ConfState{Voters: []uint64{1, 2, 3}, VotersOutgoing: []uint64{2, 3, 4}, Learners: []uint64{5}, LearnersNext: []uint64{4}}
	want := Members{Voters: voters(1, 2, 3).Voters, Outgoing: voters(2, 3, 4).Voters, Learners: voters(5, 4).Voters}
	if got := MembersOf(joint); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := MembersOf(nil); !reflect.DeepEqual(got, Members{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
