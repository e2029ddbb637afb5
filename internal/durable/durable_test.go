package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Incarnations of a member rise with each start, also when its clock falls or
// its disk is lost.
func TestIncarnationRises(t *testing.T) {
	file := filepath.Join(t.TempDir(), "incarnation")
	now := time.Unix(1_000_000, 0)
	var last uint64
	for _, clock := range []time.Time{now, now, now.Add(-time.Hour), now.Add(time.Second)} {
		next, err := NextIncarnation(file, clock)
		if err != nil {
			t.Fatal(err)
		}
		if next <= last {
			t.Fatalf("incarnation %d after %d", next, last)
		}
		last = next
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	next, err := NextIncarnation(file, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if next <= last {
		t.Errorf("incarnation %d after %d, with the disk lost", next, last)
	}
}

func TestIncarnationFileFaults(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "incarnation")
	if err := os.WriteFile(file, []byte("many"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NextIncarnation(file, time.Now()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("garbage in the file: got %v, want an error that names the file", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "many" {
		t.Errorf("a bad file was changed to %q", b)
	}
	if _, err := NextIncarnation(filepath.Join(dir, "none", "incarnation"), time.Now()); err == nil {
		t.Error("a missing directory was no error")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
