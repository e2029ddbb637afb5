package storm

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Files of a run's folder.
const (
	resultsFile = "results.csv"
	// earlyFile holds results that came before those of earlier trials.
	earlyFile = "early.csv"
)

// maxEarly bounds how many trials may be done before an earlier one is: it is what a
// run keeps in memory, however many trials there are.
const maxEarly = 1024

// store writes results as they come, so that results.csv is in the order of trials
// and complete up to its end at any time: whoever goes on reads how far it is. It is not
// for concurrent use.
type store struct {
	spec  *Spec
	shard Shard
	out   *os.File // results.csv
	early *os.File
	next  uint64 // trial that results.csv waits for
	ahead map[uint64]string
	ready bool  // both files were read
	err   error // of a write, after which nothing is written
}

// A Shard is a part of a run: every N-th trial, beginning with the I-th; I is from 1.
type Shard struct{ I, N int }

// has reports whether a trial is of the shard, next is the first of its trials from
// i on.
func (h Shard) next(i uint64) uint64 {
	n, first := uint64(h.N), uint64(h.I-1)
	return i + (n+first-i%n)%n
}

// openStore continues what is in a folder, or begins it.
func openStore(s *Spec, h Shard, dir string) (_ *store, err error) {
	st := &store{spec: s, shard: h, next: h.next(0), ahead: map[uint64]string{}}
	defer func() {
		if err != nil {
			st.close() // err says more
		}
	}()
	if st.out, err = os.OpenFile(filepath.Join(dir, resultsFile), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	if st.early, err = os.OpenFile(filepath.Join(dir, earlyFile), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	begun, err := keepLines(st.out, func(row []string, first bool) error {
		if first {
			return sameHeader(row)
		}
		r, err := s.parseRow(row)
		if err == nil && r.Trial != st.next {
			err = fmt.Errorf("%w: trial %d where %d should be", errRow, r.Trial, st.next)
		}
		st.next = h.next(r.Trial + 1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: it is of another specification, shard or version: name another folder", st.out.Name(), err)
	}
	if !begun {
		if _, err := st.out.WriteString(line(header())); err != nil {
			return nil, err
		}
	}
	_, err = keepLines(st.early, func(row []string, _ bool) error {
		r, err := s.parseRow(row)
		if err == nil && r.Trial >= st.next {
			st.ahead[r.Trial] = line(row)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", st.early.Name(), err)
	}
	st.ready = true
	return st, st.drain()
}

func sameHeader(row []string) error {
	if want := header(); line(row) != line(want) {
		return fmt.Errorf("%w: its columns are others", errRow)
	}
	return nil
}

// keepLines reads the lines of a file that are whole, cuts off one that is not, and
// leaves the file at its end. any: there are some.
func keepLines(f *os.File, take func(row []string, first bool) error) (any bool, err error) {
	r := bufio.NewReader(f)
	end := int64(0)
	for first := true; ; first = false {
		text, err := wholeLine(r)
		if errors.Is(err, io.EOF) { // what is there of it was being written
			if err := f.Truncate(end); err != nil {
				return any, err
			}
			_, err := f.Seek(end, io.SeekStart)
			return any, err
		}
		if err != nil {
			return any, err
		}
		row, err := csv.NewReader(bytes.NewReader(text)).Read()
		if err != nil {
			return any, err
		}
		if err := take(row, first); err != nil {
			return any, err
		}
		end += int64(len(text))
		any = true
	}
}

// wholeLine reads up to an end of line that is not quoted.
func wholeLine(r *bufio.Reader) (text []byte, err error) {
	for {
		part, err := r.ReadBytes('\n')
		text = append(text, part...)
		if err != nil || bytes.Count(text, []byte{'"'})%2 == 0 {
			return text, err
		}
	}
}

// done reports whether a trial has a result; those of other shards have none here.
func (st *store) done(i uint64) bool {
	_, early := st.ahead[i]
	return i < st.next || early
}

// add takes a result.
func (st *store) add(r *Result) error {
	if st.done(r.Trial) || st.shard.next(r.Trial) != r.Trial {
		return fmt.Errorf("trial %d was not asked for", r.Trial)
	}
	if st.err != nil { // half a line may be there, and must stay the last
		return st.err
	}
	text := line(st.spec.row(r))
	if r.Trial != st.next {
		if _, st.err = st.early.WriteString(text); st.err != nil {
			return st.err
		}
	}
	st.ahead[r.Trial] = text
	return st.drain()
}

// drain writes what is next.
func (st *store) drain() error {
	next := st.next
	var b bytes.Buffer
	for text, ok := st.ahead[next]; ok; text, ok = st.ahead[next] {
		b.WriteString(text)
		next = st.shard.next(next + 1)
	}
	if next == st.next {
		return nil
	}
	if _, st.err = st.out.Write(b.Bytes()); st.err != nil {
		return st.err
	}
	for ; st.next != next; st.next = st.shard.next(st.next + 1) {
		delete(st.ahead, st.next)
	}
	if len(st.ahead) > 0 {
		return nil
	}
	if st.err = st.early.Truncate(0); st.err == nil {
		_, st.err = st.early.Seek(0, io.SeekStart)
	}
	return st.err
}

// complete reports whether all trials have results.
func (st *store) complete() bool { return st.next >= st.spec.Trials() }

// close closes the files, and removes the one that nobody needs once all is there.
func (st *store) close() error {
	var errs []error
	for _, f := range []*os.File{st.out, st.early} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if st.ready && st.err == nil && len(st.ahead) == 0 {
		errs = append(errs, os.Remove(st.early.Name()))
	}
	return errors.Join(errs...)
}
