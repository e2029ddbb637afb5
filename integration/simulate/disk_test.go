package simulate

import (
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/raftdv/election"
)

func entry(index, term uint64) *raftpb.Entry {
	return &raftpb.Entry{Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum()}
}

func entries(term, from, to uint64) (es []*raftpb.Entry) {
	for i := from; i <= to; i++ {
		es = append(es, entry(i, term))
	}
	return es
}

func snapshotAt(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{Data: new(state).encode(), Metadata: &raftpb.SnapshotMetadata{
		Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}
}

func hard(term, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Commit: new(commit)}
}

// newDisk is the disk of a member with an empty log.
func newDisk(t *testing.T, seed uint64) *member {
	t.Helper()
	net, err := sim.New(sim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{c: &cluster{net: net, diskRNG: rand.New(rand.NewPCG(seed, 1))}}
	m.disk = disk{snapshot: snapshotAt(1, 1), hard: hard(1, 1), latency: time.Millisecond}
	return m
}

// logOf reads a disk as raft would after a restart: terms from the snapshot on.
func logOf(t *testing.T, d *disk) (first uint64, terms []uint64, hard *raftpb.HardState) {
	t.Helper()
	log, err := d.load()
	if err != nil {
		t.Fatal(err)
	}
	first, _ = log.FirstIndex()
	last, _ := log.LastIndex()
	for i := first; i <= last; i++ {
		term, err := log.Term(i)
		if err != nil {
			t.Fatal(err)
		}
		terms = append(terms, term)
		if !d.holds(i, term) || d.holds(i, term+1) {
			t.Errorf("index %d of term %d: holds is wrong", i, term)
		}
	}
	if d.holds(last+1, 1) {
		t.Errorf("the disk says it holds index %d, the last is %d", last+1, last)
	}
	hard, _, err = log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	return first, terms, hard
}

func same(a, b []uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestDiskKeepsWhatWasSynced(t *testing.T) {
	m := newDisk(t, 1)
	d := &m.disk
	d.settle(&write{entries: entries(1, 2, 6), hard: hard(1, 3)})
	d.settle(&write{entries: entries(2, 5, 7), hard: hard(2, 4)}) // replaces 5 and 6
	m.crash()
	first, terms, h := logOf(t, d)
	if first != 2 || !same(terms, []uint64{1, 1, 1, 2, 2, 2}) || h.GetTerm() != 2 || h.GetCommit() != 4 {
		t.Errorf("from %d: %v, %v", first, terms, h)
	}
	d.compact(snapshotAt(5, 2), 3)
	if first, terms, _ := logOf(t, d); first != 6 || !same(terms, []uint64{2, 2}) {
		t.Errorf("behind a snapshot of 5: from %d: %v", first, terms)
	}
	if len(d.entries) != 4 { // 4 to 7
		t.Errorf("%d entries are kept, want those behind 3", len(d.entries))
	}
}

// A received snapshot replaces a log that does not hold its last entry, and
// leaves what follows it otherwise.
func TestDiskTakesSnapshots(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    *raftpb.Snapshot
		first uint64
		left  []uint64
	}{
		{"ahead", snapshotAt(20, 3), 21, nil},
		{"of the same log", snapshotAt(4, 1), 5, []uint64{1, 1}},
		{"of another log", snapshotAt(4, 2), 5, nil},
	} {
		m := newDisk(t, 1)
		m.disk.settle(&write{entries: entries(1, 2, 6), hard: hard(1, 2)})
		m.disk.settle(&write{snapshot: c.at, hard: hard(3, c.at.GetMetadata().GetIndex())})
		if first, terms, _ := logOf(t, &m.disk); first != c.first || !same(terms, c.left) {
			t.Errorf("%s: from %d: %v, want from %d: %v", c.name, first, terms, c.first, c.left)
		}
	}
}

// TestCrashLosesASuffix: of a write under way a prefix of the entries is there,
// the hard state only with all of them; what needs no sync may be lost.
func TestCrashLosesASuffix(t *testing.T) {
	lengths, hards, lazy := map[int]int{}, 0, 0
	for seed := range uint64(200) {
		m := newDisk(t, seed)
		m.disk.settle(&write{entries: entries(1, 2, 4), hard: hard(1, 2)})
		m.disk.unsynced = hard(1, 3)
		m.disk.pending = &write{entries: entries(2, 4, 6), hard: hard(2, 4)}
		m.crash()
		_, terms, h := logOf(t, &m.disk)
		n := 0 // entries of the write that are there
		for _, term := range terms {
			if term == 2 {
				n++
			}
		}
		if n == 0 && !same(terms, []uint64{1, 1, 1}) || n > 0 && len(terms) != 2+n {
			t.Fatalf("seed %d: %v", seed, terms)
		}
		if h.GetTerm() == 2 {
			if hards++; n != 3 {
				t.Errorf("seed %d: the hard state is there, the entries are not: %v", seed, terms)
			}
		} else if h.GetCommit() == 3 {
			lazy++
		}
		if n > 0 && h.GetCommit() < 3 {
			t.Errorf("seed %d: entries are there, and the commit index is lost that was written before them", seed)
		}
		lengths[n]++
		if m.disk.pending != nil || m.disk.unsynced != nil {
			t.Errorf("seed %d: something is still under way", seed)
		}
	}
	if len(lengths) != 4 || hards == 0 || hards == 200 || lazy == 0 {
		t.Errorf("entries there: %v, hard states: %d, of those that need no sync: %d: the crashes are all alike", lengths, hards, lazy)
	}
}

// TestCommitIsKept: a commit index that was written without a sync is on disk as
// soon as anything behind it is, and a Ready without one does not take it back.
func TestCommitIsKept(t *testing.T) {
	for name, then := range map[string]func(*disk){
		"entries":    func(d *disk) { d.settle(&write{entries: entries(1, 5, 5)}) },
		"a snapshot": func(d *disk) { d.compact(snapshotAt(3, 1), 2) },
	} {
		for seed := range uint64(20) {
			m := newDisk(t, seed)
			m.disk.settle(&write{entries: entries(1, 2, 4), hard: hard(1, 2)})
			m.disk.write(hard(1, 4))
			m.disk.write(nil)
			then(&m.disk)
			m.crash()
			if _, _, h := logOf(t, &m.disk); h.GetCommit() != 4 {
				t.Fatalf("%s behind it: commit %d is on disk, want 4", name, h.GetCommit())
			}
		}
	}
}

// TestPowerLossKeepsConfigurations: with commit indices lost for good, members
// came back from a power loss with configurations of members that were gone.
func TestPowerLossKeepsConfigurations(t *testing.T) {
	r := run(t, Config{Seed: 3898, Elections: election.On, Failovers: 2, Only: []int{1, 6, 7, 14}})
	if r.Failed() {
		t.Error(r.Failures)
	}
}

func TestCrashNeverKeepsHalfASnapshot(t *testing.T) {
	for seed := range uint64(50) {
		m := newDisk(t, seed)
		m.disk.pending = &write{snapshot: snapshotAt(9, 2), entries: entries(2, 10, 11), hard: hard(2, 10)}
		m.crash()
		if first, terms, h := logOf(t, &m.disk); first != 2 || len(terms) != 0 || h.GetTerm() != 1 {
			t.Fatalf("from %d: %v, %v", first, terms, h)
		}
	}
}

func TestSyncTime(t *testing.T) {
	m := newDisk(t, 1)
	sum := time.Duration(0)
	for range 1000 {
		took := m.syncTime()
		if took < m.disk.latency/2 {
			t.Fatalf("a sync takes %v, half of the mean is %v", took, m.disk.latency/2)
		}
		sum += took
	}
	if mean := sum / 1000; mean < 900*time.Microsecond || mean > 1100*time.Microsecond {
		t.Errorf("mean %v, want about 1ms", mean)
	}
	m.disk.stallUntil = 3 * time.Second
	if took := m.syncTime(); took < 3*time.Second {
		t.Errorf("a sync on a disk that hangs for 3 s takes %v", took)
	}
	m.disk.stallUntil, m.disk.factor = 0, 50
	if took := m.syncTime(); took < 25*time.Millisecond {
		t.Errorf("a sync on a disk that is 50 times slower takes %v", took)
	}
	if m.disk.syncs != 1002 {
		t.Errorf("%d syncs are counted, want 1002", m.disk.syncs)
	}
}
