package simulate

// logCheck: two logs that hold an entry of one index and term are equal up to
// it. It is enough that the entry is the same and the term before it is, by
// induction.
type logCheck struct {
	seen map[position]logRecord
}

type position struct{ index, term uint64 }

type logRecord struct {
	digest, before uint64
	by             *member
}

func (l *logCheck) stored(n *node, w *write) {
	for _, e := range w.entries {
		before, err := n.log.Term(e.GetIndex() - 1)
		if err != nil {
			continue // behind a snapshot
		}
		at, is := position{e.GetIndex(), e.GetTerm()}, logRecord{digest(e), before, n.m}
		if before > e.GetTerm() {
			n.c.fail(checkLog, "%s has term %d at %d after term %d", n.m.id, e.GetTerm(), e.GetIndex(), before)
		}
		was, ok := l.seen[at]
		if !ok {
			l.seen[at] = is
			continue
		}
		if was.digest != is.digest || was.before != is.before {
			n.c.fail(checkLog, "%s and %s have different logs up to index %d of term %d", was.by.id, n.m.id, at.index, at.term)
		}
	}
}
