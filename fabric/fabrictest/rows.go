package fabrictest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

var rowCases = []testCase{
	{
		name:  "rows/newest",
		quote: "P5: Publish replaces the caller's row everywhere; the newest version is resent until it is acked",
		fn:    rowsNewest,
	},
	{
		name:  "rows/prompt",
		quote: "members in prompt get it at once",
		opt:   Options{RowInterval: 10 * time.Minute},
		fn:    rowsPrompt,
	},
	{
		name:  "rows/withheld",
		quote: "RowWithholder: whether a peer is sent the caller's row; when that is over it gets the newest one at once",
		opt:   Options{RowInterval: 10 * time.Millisecond},
		fn:    rowsWithheld,
	},
	{
		name:  "rows/refused",
		quote: "a row whose version is not above the last one published is refused with ErrStaleRow, one that is too large with ErrTooLarge",
		fn:    rowsRefused,
	},
	{
		name:  "rows/latest wins",
		quote: "P5: at most one version per destination is queued",
		fn:    rowsLatestWins,
	},
	{
		name:  "rows/concurrent",
		quote: "all methods may be called concurrently; versions of one incarnation only rise",
		fn:    rowsConcurrent,
	},
	{
		name:  "rows/cut",
		quote: "P5: the newest version is resent until it is acked",
		needs: []Ability{AbleCut},
		fn:    rowsCut,
	},
	{
		name:  "rows/restart",
		quote: "P5: every member holds a copy, also one that has just started; incarnations only rise",
		needs: []Ability{AbleKill, AbleRestart},
		fn:    rowsRestart,
	},
}

// hugeRow marks the versions whose rows are as large as the port allows.
const hugeRow = 1 << 40

func rowSections(incarnation, version uint64) []byte {
	n := int(version % 150)
	if version >= hugeRow {
		n = int(version-hugeRow) - 8
	}
	return fabric.AppendSection(nil, fabric.Section{ID: fabric.SectionRaft, Version: 1, Value: cutPattern(version*31+incarnation, n)})
}

func (e *env) publish(id fabric.MemberID, version uint64, prompt []fabric.MemberID) error {
	inc := uint64(e.member(id).gen) + 1
	row := fabric.Row{Owner: id, Incarnation: inc, Version: version, Sections: rowSections(inc, version)}
	err := e.port(id).Publish(row, prompt)
	scribble(row.Sections)
	return err
}

func (e *env) mustPublish(id fabric.MemberID, version uint64, prompt []fabric.MemberID) {
	e.tb.Helper()
	if err := e.publish(id, version, prompt); err != nil {
		e.tb.Fatalf("%s: P5: Publish of version %d: %v", e.f.Name, version, err)
	}
}

// newest returns the incarnation and version of the row of of that id has.
func (e *env) newest(id, of fabric.MemberID) (incarnation, version uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if rows := e.members[id].peer(of).rows; len(rows) > 0 {
		return rows[len(rows)-1].Incarnation, rows[len(rows)-1].Version
	}
	return 0, 0
}

func (e *env) rowArrives(of fabric.MemberID, version uint64, at ...fabric.MemberID) {
	e.tb.Helper()
	inc := uint64(e.member(of).gen) + 1
	for _, id := range at {
		e.must("P5: the newest row arrives", e.f.Patience, func() bool {
			i, v := e.newest(id, of)
			return i == inc && v == version
		})
	}
}

func rowsNewest(e *env) {
	for version := uint64(1); version <= 60; version++ {
		for _, id := range e.ids {
			e.mustPublish(id, version, nil)
		}
		if version%10 == 0 {
			for _, id := range e.ids {
				e.rowArrives(id, version, e.others(id)...)
			}
		}
		e.push(e.ids[0], msg{to: e.others(e.ids[0]), lane: fabric.LaneAppend, size: 300, patch: -1})
	}
}

func rowsPrompt(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	for version := uint64(1); version <= 50; version++ {
		e.mustPublish(a, version, one(b))
		e.rowArrives(a, version, b)
	}
	e.mustPublish(a, 51, []fabric.MemberID{b, c})
	e.rowArrives(a, 51, b, c)
}

// rowsWithheld also shows that the others are sent theirs, and that frames
// come all the same. Ports that withhold nothing pass.
func rowsWithheld(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	w, ok := e.port(a).(fabric.RowWithholder)
	if !ok {
		return
	}
	e.mustPublish(a, 1, []fabric.MemberID{b, c})
	e.rowArrives(a, 1, b, c)
	w.WithholdRow(b, true)
	for version := uint64(2); version <= 20; version++ {
		e.mustPublish(a, version, []fabric.MemberID{b, c})
		e.rowArrives(a, version, c)
		e.push(a, msg{to: one(b), lane: fabric.LaneControl, size: 10, patch: -1})
	}
	e.resolveAll()
	e.ackedArrive()
	if _, v := e.newest(b, a); v != 1 {
		e.tb.Errorf("%s: RowWithholder: %s was sent version %d of a row that was withheld from it", e.f.Name, b, v)
	}
	w.WithholdRow(b, false)
	e.rowArrives(a, 20, b)
	e.mustPublish(a, 21, one(b))
	e.rowArrives(a, 21, b)
}

func rowsRefused(e *env) {
	a, largest := e.ids[0], e.port(e.ids[0]).Capabilities().MaxRow
	e.mustPublish(a, 5, nil)
	for _, version := range []uint64{5, 4, 0} {
		if err := e.publish(a, version, nil); !errors.Is(err, fabric.ErrStaleRow) {
			e.violate("P5: version %d after 5: %v, want ErrStaleRow", version, err)
		}
	}
	if err := e.publish(a, hugeRow+uint64(largest)+1, nil); !errors.Is(err, fabric.ErrTooLarge) {
		e.violate("P5: row of %d bytes: %v, want ErrTooLarge", largest+1, err)
	}
	e.mustPublish(a, 6, nil) // the version of a refused row is not used up
	e.rowArrives(a, 6, e.others(a)...)
	version := hugeRow + uint64(largest)
	e.mustPublish(a, version, nil)
	e.rowArrives(a, version, e.others(a)...)
}

// maxStaleRows is how many versions may arrive late at a receiver that was
// stuck: those on the wire, and the one queued.
const maxStaleRows = 32

func rowsLatestWins(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.mustPublish(a, 1, nil)
	e.rowArrives(a, 1, e.others(a)...)
	e.stall(b, a)
	const versions = 1500
	for version := uint64(2); version <= versions; version++ {
		e.mustPublish(a, version, one(b))
		if version%50 == 0 {
			e.pass(time.Millisecond) // so that they can leave
		}
	}
	e.unstall(b)
	e.rowArrives(a, versions, e.others(a)...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.members[b].peer(a).rows); n > maxStaleRows {
		e.violateLocked("P5: %d of %d versions were kept for a stuck receiver, want the newest and a few on the wire", n, versions)
	}
}

func rowsConcurrent(e *env) {
	var version atomic.Uint64
	a := e.ids[0]
	for range 25 {
		e.each(4, func(i int) {
			for range 8 {
				err := e.publish(a, version.Add(1), e.ids[1:1+i%3])
				if err != nil && !errors.Is(err, fabric.ErrStaleRow) {
					e.violate("P5: Publish: %v", err)
				}
			}
		})
		e.rowArrives(a, version.Load(), e.others(a)...)
	}
}

func rowsCut(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	e.mustPublish(a, 1, nil)
	e.rowArrives(a, 1, b, c)
	e.cut(a, b)
	for version := uint64(2); version <= 20; version++ {
		e.mustPublish(a, version, one(b))
	}
	e.rowArrives(a, 20, c)
	e.pass(20 * time.Millisecond)
	if _, v := e.newest(b, a); v != 1 {
		e.violate("P5: version %d arrived through a cut link", v)
	}
	e.mend()
	e.rowArrives(a, 20, b)
}

func rowsRestart(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	e.mustPublish(a, 7, nil)
	e.mustPublish(c, 1000, nil)
	e.rowArrives(a, 7, b, c)
	e.rowArrives(c, 1000, a, b)
	e.kill(c)
	e.mustPublish(a, 8, nil)
	e.restart(c)
	e.rowArrives(a, 8, b, c)
	e.mustPublish(c, 1, nil)
	e.rowArrives(c, 1, a, b)
}
