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
	"strings"
)

var errNoParts = errors.New("there is nothing to merge: name the folders of the shards")

// Merge makes one run of the shards of a run, each in a folder of its own. All have to be
// there, and complete; else nothing is left but what was there.
func (s *Spec) Merge(dir string, shards []string) (err error) {
	if len(shards) == 0 {
		return errNoParts
	}
	readers := make([]*rows, len(shards))
	for i, d := range shards {
		if readers[i], err = s.open(filepath.Join(d, resultsFile)); err != nil {
			return err
		}
		defer readers[i].close()
	}
	heads := make([]*Result, len(shards))
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	whole := filepath.Join(dir, resultsFile)
	if _, err := os.Stat(whole); err == nil {
		return fmt.Errorf("%s is there: name another folder, or remove it", whole)
	}
	out, err := os.CreateTemp(dir, resultsFile+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err == nil {
			err = os.Rename(out.Name(), whole)
		} else {
			os.Remove(out.Name())
		}
	}()
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	w.WriteString(line(header()))
	for want := range s.Trials() {
		found := false
		for i, r := range readers {
			if heads[i] == nil {
				if heads[i], err = r.next(); err != nil && !errors.Is(err, io.EOF) {
					return err
				}
			}
			if h := heads[i]; h != nil && h.Trial == want {
				if found {
					return fmt.Errorf("trial %d is in more than one of %s: name each shard once", want, strings.Join(shards, ", "))
				}
				found, heads[i] = true, nil
				w.WriteString(line(s.row(h)))
			}
		}
		if !found {
			return fmt.Errorf("trial %d is in none of %s: a shard is missing or not complete", want, strings.Join(shards, ", "))
		}
	}
	return w.Flush()
}

// rows reads results one after the other.
type rows struct {
	spec *Spec
	file *os.File
	r    *bufio.Reader
}

// open opens a file of results.
func (s *Spec) open(name string) (*rows, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r := &rows{s, f, bufio.NewReader(f)}
	row, err := r.row()
	if err == nil {
		err = sameHeader(row)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func (r *rows) row() ([]string, error) {
	text, err := wholeLine(r.r)
	if err != nil {
		return nil, err
	}
	return csv.NewReader(bytes.NewReader(text)).Read()
}

// next returns io.EOF at the end; a line that is not whole is not there.
func (r *rows) next() (*Result, error) {
	row, err := r.row()
	if err != nil {
		return nil, err
	}
	res, err := r.spec.parseRow(row)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.file.Name(), err)
	}
	return &res, nil
}

func (r *rows) close() { r.file.Close() }
