package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A result is one line of the store.
type result struct {
	Time    time.Time `json:"time"`
	Suite   string    `json:"suite"`
	Test    string    `json:"test"` // its id
	Kind    kind      `json:"kind"`
	Key     string    `json:"key"`
	Rerun   int       `json:"rerun,omitempty"` // counted from 1; 0 is the first run
	Outcome outcome   `json:"outcome"`
	Seconds float64   `json:"seconds"`
	Passes  int       `json:"subtests_passed,omitempty"`
	Skips   []string  `json:"subtests_skipped,omitempty"`
	Fails   []string  `json:"subtests_failed,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Log     string    `json:"log,omitempty"`
	Left    []string  `json:"left,omitempty"`
}

// A store keeps results as JSON lines, one file for each suite and key. Lines
// are only ever appended, each by one write, so that several shards may use
// one store.
type store struct{ dir string }

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		return nil, fmt.Errorf("folder for results: %w: say --cache", err)
	}
	return &store{dir}, nil
}

func (s *store) path(suite, key string) string {
	return filepath.Join(s.dir, "results", suite, key+".jsonl")
}

// add appends r.
func (s *store) add(r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := s.path(r.Suite, r.Key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if torn(f) {
		line = append([]byte("\n"), line...)
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// torn says whether the last write was cut off.
func torn(f *os.File) bool {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, end-1)
	return err == nil && last[0] != '\n'
}

// load returns what is known under a key, by test, oldest first. A line that
// was cut off is passed over.
func (s *store) load(suite, key string) (map[string][]result, error) {
	text, err := os.ReadFile(s.path(suite, key))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string][]result{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string][]result{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		var r result
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Key == key {
			all[r.Test] = append(all[r.Test], r)
		}
	}
	return all, lines.Err()
}

// logPath is where the output of a failed run is kept.
func (s *store) logPath(r result) string {
	name := strings.NewReplacer("/", "_", " ", "_").Replace(r.Test)
	return filepath.Join(s.dir, "logs", fmt.Sprintf("%s-%s-%s-%s.log", name, r.Kind, r.Key, r.Time.UTC().Format("0102T150405.000")))
}
