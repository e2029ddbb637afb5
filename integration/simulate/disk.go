package simulate

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// disk is what of a member survives a crash: all writes that were synced and,
// of those under way, a prefix. Like etcd's log it holds the entries of a write
// before its hard state.
//
// Invariant: entries follow the snapshot or overlap it, without a hole.
type disk struct {
	hard     *raftpb.HardState
	snapshot *raftpb.Snapshot
	entries  []*raftpb.Entry
	// unsynced is a hard state that was written and needs no sync: a commit
	// index alone. A crash may lose it, until something behind it in the log is
	// on disk: etcd's log is one file that is written in order (wal.Save, and
	// SaveSnapshot, which syncs).
	unsynced *raftpb.HardState
	pending  *write // under way
	// votes on views, whole; pendingVotes are under way.
	votes, pendingVotes []byte

	latency    time.Duration // mean of a sync
	factor     int           // of faults that are on, added up: multiplies it
	stallUntil time.Duration // no sync ends before
	syncs      int
}

// write is what one Ready puts on disk.
type write struct {
	hard     *raftpb.HardState
	snapshot *raftpb.Snapshot
	entries  []*raftpb.Entry
}

// syncTime draws how long a write takes that starts now.
func (m *member) syncTime() time.Duration {
	d := &m.disk
	d.syncs++
	took := d.latency/2 + time.Duration(m.c.diskRNG.ExpFloat64()*float64(d.latency)/2)
	took *= time.Duration(max(1, d.factor))
	took = max(took, d.stallUntil-m.c.net.Now()+took)
	if took > slowSync {
		m.c.checks.polls.unmet("slow sync", m.c.net.Now()+took)
	}
	return took
}

// write adds a hard state without a sync; nil: there is none.
func (d *disk) write(h *raftpb.HardState) {
	if h != nil {
		d.unsynced = h
	}
}

// flush puts what was written without a sync on disk.
func (d *disk) flush() {
	if d.unsynced != nil {
		d.hard, d.unsynced = d.unsynced, nil
	}
}

// settle puts a write on disk for good, and what was written before it.
func (d *disk) settle(w *write) {
	d.flush()
	if w.snapshot != nil {
		d.snapshot = w.snapshot
		d.entries = after(d.entries, w.snapshot)
	}
	d.append(w.entries)
	if w.hard != nil {
		d.hard = w.hard
	}
}

// after keeps the entries that follow a snapshot; those of another log go.
func after(entries []*raftpb.Entry, s *raftpb.Snapshot) []*raftpb.Entry {
	at, term := s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm()
	for i, e := range entries {
		if e.GetIndex() == at && e.GetTerm() == term {
			return entries[i+1:]
		}
	}
	return nil
}

// append replaces everything from the first entry on.
func (d *disk) append(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	keep := len(d.entries)
	for keep > 0 && d.entries[keep-1].GetIndex() >= entries[0].GetIndex() {
		keep--
	}
	d.entries = append(d.entries[:keep], entries...)
}

// compact drops entries up to an index; a snapshot holds them.
func (d *disk) compact(s *raftpb.Snapshot, index uint64) {
	d.snapshot = s
	d.flush() // writing the snapshot's mark syncs the log
	i := 0
	for i < len(d.entries) && d.entries[i].GetIndex() <= index {
		i++
	}
	d.entries = d.entries[i:]
}

// crash decides what of the writes under way is on disk: entries from the first
// on, and the hard state only if all of them are.
func (m *member) crash() {
	d, rng := &m.disk, m.c.diskRNG
	w := d.pending
	d.pending = nil
	if d.unsynced != nil && rng.IntN(2) == 0 {
		d.flush()
	}
	if w != nil && w.snapshot == nil { // a snapshot is moved into place at the end
		n := rng.IntN(len(w.entries) + 2)
		if n > len(w.entries) {
			d.settle(w)
		} else if n > 0 {
			d.flush()
			d.append(w.entries[:n])
		}
	}
	d.unsynced = nil
	if d.pendingVotes != nil && rng.IntN(2) == 0 {
		d.votes = d.pendingVotes
	}
	d.pendingVotes = nil
}

// load makes raft's view of the disk.
func (d *disk) load() (*raft.MemoryStorage, error) {
	log := raft.NewMemoryStorage()
	if d.snapshot != nil {
		if err := log.ApplySnapshot(d.snapshot); err != nil {
			return nil, err
		}
	}
	if d.hard != nil {
		if err := log.SetHardState(d.hard); err != nil {
			return nil, err
		}
	}
	var fresh []*raftpb.Entry
	for _, e := range d.entries {
		if e.GetIndex() > d.snapshot.GetMetadata().GetIndex() {
			fresh = append(fresh, e)
		}
	}
	return log, log.Append(fresh)
}

// holds reports whether an entry is on disk, itself or within a snapshot.
func (d *disk) holds(index, term uint64) bool {
	if index <= d.snapshot.GetMetadata().GetIndex() {
		return true
	}
	if len(d.entries) == 0 || index < d.entries[0].GetIndex() {
		return false
	}
	i := index - d.entries[0].GetIndex()
	return i < uint64(len(d.entries)) && d.entries[i].GetTerm() == term
}
